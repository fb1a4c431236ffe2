"""Unmodified esptool and espefuse, as subprocesses, each against a board of its own.

esptool over RFC 2217 spends most of its time asleep in pyserial, so all commands run at once, and
what needs no reset line goes through the pseudo terminal of a board that is in download mode.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.factory_image import merge_regions
from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_table import table_digest
from provisioning.simulator.board import BoardMode
from provisioning.simulator.line import SimulatedLine, SimulatedSlot
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    build_inputs,
    build_parts,
    build_trust,
    signer,
)
from tests.firmware_images.test_esp_image import CODE, build_image
from tests.provisioning.simulator.parts import enter_download_mode, flash_release, now
from tests.untraced import untraced_environment

if TYPE_CHECKING:
    from pathlib import Path

BOOTLOADER = build_image(CODE)


def factory_image() -> bytes:
    """A signed release with a bootloader, merged as `image merge` does."""
    unsigned = build_bundle(build_inputs(bootloader=BOOTLOADER))
    signed = sign_bundle(unsigned, [signer("release-1"), signer("release-3")])
    bundle = verify_bundle(signed, build_trust())
    return merge_regions(bundle.flash_regions(), flash_size_bytes=4 << 20)


FACTORY = factory_image()
CONTENT = Random(1).randbytes(6_000) + bytes(14_000)


@dataclass(frozen=True, kw_only=True)
class Run:
    slot: SimulatedSlot
    exit_code: int
    output: str


def _commands(folder: Path) -> dict[str, list[str]]:
    source, target = str(folder / "content.bin"), str(folder / "read.bin")
    esptool = ["-m", "esptool"]
    on_pty = [*esptool, "--before", "no-reset"]
    return {
        "identify": [*esptool, "read-mac"],
        "rom": [*esptool, "--no-stub", "--chip", "esp32c3", "get-security-info"],
        "flash-id": [*on_pty, "--after", "no-reset", "flash-id"],
        "write": [*esptool, "--baud", "460800", "write-flash", "--compress", "0x10000", source],
        "write-rom": [*on_pty, "--no-stub", "write-flash", "0x10000", source],
        "write-plain": [*on_pty, "write-flash", "--no-compress", "0x10000", source],
        "verify": [*on_pty, "verify-flash", "0x10000", source],
        "read": [*on_pty, "--baud", "921600", "read-flash", "0x10000", "20000", target],
        "factory": [*esptool, "write-flash", "0x0", str(folder / "factory.bin")],
        "erase": [*on_pty, "erase-region", "0x10000", "0x1000"],
        "watchdog": [*esptool, "--chip", "esp32c3", "--after", "watchdog-reset", "chip-id"],
        "summary": ["-m", "espefuse", "--before", "no-reset", "summary"],
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("esptool")
    (folder / "content.bin").write_bytes(CONTENT)
    (folder / "factory.bin").write_bytes(FACTORY)
    commands = _commands(folder)
    with SimulatedLine(
        folder / "line", board_count=len(commands), seed=3, has_pty=True, now=now
    ) as line:
        slots = dict(zip(commands, line.slots, strict=True))
        for name in ("verify", "read", "erase"):
            slots[name].board.flash.write(0x10000, CONTENT)
        flash_release(slots["watchdog"].board.flash)
        flash_release(slots["identify"].board.flash)

        def run(name: str) -> Run:
            slot = slots[name]
            port = slot.port_url
            if "no-reset" in commands[name][:4]:
                enter_download_mode(slot.board)
                assert slot.pty_path is not None
                port = slot.pty_path
            result = subprocess.run(
                [sys.executable, *_with_port(commands[name], port)],
                env=untraced_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=180,
            )
            return Run(slot=slot, exit_code=result.returncode, output=result.stdout + result.stderr)

        with ThreadPoolExecutor(len(commands)) as pool:
            results = dict(zip(commands, pool.map(run, commands), strict=True))
        yield results | {"folder": folder}


def _with_port(command: list[str], port_url: str) -> list[str]:
    return [*command[:2], "--port", port_url, *command[2:]]


@pytest.fixture
def done(runs, request) -> Run:
    run: Run = runs[request.param]
    assert run.exit_code == 0, run.output
    return run


@pytest.mark.parametrize("done", ["identify"], indirect=True)
def test_esptool_finds_the_chip_runs_its_stub_reads_the_mac_and_resets_into_flash(done):
    assert "ESP32-C3 (QFN32) (revision v0.4)" in done.output
    assert "Stub flasher running" in done.output
    assert done.slot.board.mac.hex(":") in done.output
    assert done.slot.board.mode is BoardMode.APPLICATION


@pytest.mark.parametrize("done", ["rom"], indirect=True)
def test_the_rom_alone_tells_its_security_state(done):
    assert "Chip ID: 5" in done.output
    assert "Secure Boot: Disabled" in done.output


@pytest.mark.parametrize("done", ["flash-id"], indirect=True)
def test_the_flash_chip_is_identified_and_no_reset_leaves_the_loader(done):
    assert "Detected flash size: 4MB" in done.output
    assert done.slot.board.mode is BoardMode.ROM


@pytest.mark.parametrize("done", ["write", "write-rom", "write-plain"], indirect=True)
def test_a_write_is_verified_by_esptool_and_lies_in_flash(done):
    assert "Hash of data verified" in done.output
    assert done.slot.board.flash.read(0x10000, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("done", ["factory"], indirect=True)
def test_a_merged_factory_image_makes_a_blank_board_boot_its_release(done):
    assert "Hash of data verified" in done.output
    board = done.slot.board
    assert board.flash.read(0, len(BOOTLOADER)) == BOOTLOADER
    assert board.mode is BoardMode.APPLICATION
    assert (board.running.slot, board.running.version) == (0, "1.4.0")
    assert board.running.image_sha256 == hashlib.sha256(APP_1_4_0.read_bytes()).digest()
    partition = board.running.table.find("wave_0")
    content = board.flash.read(partition.offset_bytes, partition.size_bytes)
    assert table_digest(parse_waveform_slot(content)[0]) == table_digest(build_parts().table)


@pytest.mark.parametrize("done", ["verify"], indirect=True)
def test_esptool_agrees_with_what_lies_in_flash(done):
    assert "Verification successful" in done.output


@pytest.mark.parametrize("done", ["read"], indirect=True)
def test_flash_is_read_back_at_a_higher_baud_rate(done, runs):
    assert (runs["folder"] / "read.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("done", ["erase"], indirect=True)
def test_a_region_is_erased_and_its_neighbour_is_not(done):
    flash = done.slot.board.flash
    assert flash.read(0x10000, 0x1000) == b"\xff" * 0x1000
    assert flash.read(0x11000, 100) == CONTENT[0x1000 : 0x1000 + 100]


@pytest.mark.parametrize("done", ["watchdog"], indirect=True)
def test_a_watchdog_reset_boots_the_application(done):
    assert done.slot.board.mode is BoardMode.APPLICATION


@pytest.mark.parametrize("done", ["summary"], indirect=True)
def test_espefuse_reads_the_efuses_over_the_port(done):
    assert done.slot.board.mac.hex(":") in done.output
