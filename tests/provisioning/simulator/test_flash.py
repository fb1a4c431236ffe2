from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_images.errors import FlashMediumError
from firmware_images.flash_medium import MemoryFlash
from provisioning.errors import SimulatorError
from provisioning.simulator.faults import FaultPlan, PowerCutError
from provisioning.simulator.flash import NorFlash

SIZE_BYTES = 4 * 4096


@pytest.fixture
def flash(tmp_path):
    with NorFlash(tmp_path / "flash.bin", size_bytes=SIZE_BYTES) as chip:
        yield chip


def test_a_new_chip_is_erased(flash):
    assert flash.read(0, SIZE_BYTES) == b"\xff" * SIZE_BYTES


def test_a_write_only_clears_bits_and_an_erase_sets_a_whole_sector(flash):
    flash.write(10, b"\x0f\xf0")
    flash.write(10, b"\xfc\xff")
    assert flash.read(9, 4) == b"\xff\x0c\xf0\xff"
    flash.erase(0, 4096)
    assert flash.read(9, 4) == b"\xff" * 4


@pytest.mark.parametrize(("offset", "size"), [(1, 4096), (0, 100), (SIZE_BYTES, 4096)])
def test_an_erase_that_is_not_whole_sectors_is_refused_and_changes_nothing(flash, offset, size):
    flash.write(0, b"\x00" * SIZE_BYTES)
    with pytest.raises(FlashMediumError):
        flash.erase(offset, size)
    assert flash.read(0, SIZE_BYTES) == b"\x00" * SIZE_BYTES


@given(
    operations=st.lists(
        st.one_of(
            st.tuples(st.integers(0, SIZE_BYTES - 300), st.binary(max_size=300)),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_chip_behaves_as_the_flash_in_memory_does(flash, operations):
    model = MemoryFlash(SIZE_BYTES)
    for chip in (flash, model):
        chip.erase(0, SIZE_BYTES)
        for operation in operations:
            if isinstance(operation, int):
                chip.erase(operation * 4096, 4096)
            else:
                chip.write(*operation)
    assert flash.read(0, SIZE_BYTES) == model.read(0, SIZE_BYTES)


def test_a_dead_sector_keeps_what_it_held_and_its_neighbours_do_not(tmp_path):
    faults = FaultPlan(dead_sectors=frozenset({1}))
    with NorFlash(tmp_path / "f", size_bytes=SIZE_BYTES, faults=faults) as chip:
        chip.write(4090, b"\x00" * 4110)
        assert chip.read(4090, 6) == b"\x00" * 6
        assert chip.read(4096, 4096) == b"\xff" * 4096
        assert chip.read(8192, 8) == b"\x00" * 8


def test_a_power_cut_leaves_the_operation_half_done_and_happens_once(tmp_path):
    faults = FaultPlan(power_cut_after_bytes=100)
    with NorFlash(tmp_path / "f", size_bytes=SIZE_BYTES, faults=faults) as chip:
        chip.write(0, b"\x00" * 60)
        with pytest.raises(PowerCutError):
            chip.write(60, b"\x00" * 60)
        assert chip.read(0, 120) == b"\x00" * 100 + b"\xff" * 20
        chip.write(60, b"\x00" * 60)
        assert chip.read(0, 120) == b"\x00" * 120


def test_a_killed_process_leaves_what_it_had_written(tmp_path):
    path = tmp_path / "flash.bin"
    code = (
        "import pathlib, sys\n"
        "from provisioning.simulator.flash import NorFlash\n"
        f"chip = NorFlash(pathlib.Path({str(path)!r}), size_bytes={SIZE_BYTES})\n"
        "chip.write(5, b'hello')\n"
        "print('written', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        os.kill(process.pid, signal.SIGKILL)
    with NorFlash(path, size_bytes=SIZE_BYTES) as chip:
        assert chip.read(5, 5) == b"hello"


def test_a_file_of_another_size_is_refused_and_kept(tmp_path):
    path = tmp_path / "flash.bin"
    path.write_bytes(b"short")
    with pytest.raises(SimulatorError, match="wrong size"):
        NorFlash(path, size_bytes=SIZE_BYTES)
    assert path.read_bytes() == b"short"


def test_a_chip_that_another_board_uses_is_refused_until_it_is_free(tmp_path):
    path = tmp_path / "flash.bin"
    with (
        NorFlash(path, size_bytes=SIZE_BYTES),
        pytest.raises(SimulatorError, match="in use"),
    ):
        NorFlash(path, size_bytes=SIZE_BYTES)
    NorFlash(path, size_bytes=SIZE_BYTES).close()


def test_a_flash_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(SimulatorError, match="cannot be opened"):
        NorFlash(tmp_path, size_bytes=SIZE_BYTES)
