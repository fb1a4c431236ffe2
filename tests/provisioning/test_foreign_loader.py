"""The flasher against a loader that is not ours: the package `esp32-mock-bootloader`.

A second opinion on the serial protocol, over a pseudo terminal, which has no control lines: esptool
says so and goes on, because this loader is always in download mode.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from random import Random

import pytest

from provisioning.esptool_flasher import EsptoolFlasher
from provisioning.serial_port import open_port


@dataclass(frozen=True, kw_only=True)
class Region:
    name: str
    offset_bytes: int
    content: bytes


APP = Region(name="app", offset_bytes=0x10000, content=Random(1).randbytes(30_000))
TABLE = Region(name="partition table", offset_bytes=0x8000, content=b"\xaa\x50" + bytes(3_070))


@pytest.fixture(scope="module")
def loader():
    """Path of the terminal behind which the other loader listens."""
    command = [sys.executable, "-m", "esp32_mock_bootloader.cli", "run", "--pty"]
    process = subprocess.Popen(
        [*command, "--chip", "esp32c3", "--timeout", "1200"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    path = process.stdout.readline().strip()
    assert path.startswith("/dev/"), path
    yield path
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("use_stub", [True, False])
def test_another_loader_is_found_written_and_read_back(loader, use_stub):
    offset_bytes = APP.offset_bytes + (0 if use_stub else 0x10000)
    app = Region(name="app", offset_bytes=offset_bytes, content=APP.content)
    fractions = []
    with closing(open_port(loader, timeout_s=3)) as port:
        flasher = EsptoolFlasher(port, where=loader, use_stub=use_stub)
        assert flasher.detect().chip == "ESP32-C3"
        first = flasher.write((TABLE, app), on_progress=fractions.append)
        second = flasher.write((TABLE, app), on_progress=fractions.append)
        if use_stub:  # reading through the ROM takes 64 bytes at a time
            assert flasher.read(app.offset_bytes, len(app.content)) == app.content
    assert not first[1].was_there
    assert [report.was_there for report in second] == [True, True]
    assert fractions[-1] == pytest.approx(1.0)
    assert [(each.baud, each.failure) for each in flasher.rates] == [
        (921_600 if use_stub else 115_200, None)
    ]
