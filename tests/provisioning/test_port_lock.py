"""One process and one slot for each serial port."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

import pytest

from provisioning.errors import PortError
from provisioning.port_lock import PortLock
from provisioning.serial_port import open_port
from provisioning.simulator.line import SimulatedLine

HOLD = """
import sys
from pathlib import Path
from provisioning.port_lock import PortLock
PortLock("tty", where="/dev/ttyUSB0", folder=Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def lock(folder, key="tty"):
    return PortLock(key, where="/dev/ttyUSB0", folder=folder)


def test_another_process_is_kept_out_until_the_first_one_dies(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(PortError, match="in use") as refusal:
        lock(tmp_path).acquire()
    assert refusal.value.got == f"process {holder.pid}"
    assert refusal.value.where == "/dev/ttyUSB0"
    holder.kill()
    holder.wait()
    after = lock(tmp_path)
    after.acquire()
    after.release()


def test_a_lock_that_was_given_back_leaves_nothing_behind(tmp_path):
    first = lock(tmp_path)
    first.acquire()
    first.acquire()
    with pytest.raises(PortError, match="another slot of this station"):
        lock(tmp_path).acquire()
    first.release()
    first.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_was_removed_before_it_was_locked_counts_for_nothing(tmp_path):
    """Whoever waits at the door of a file that its holder removes must not hold the ghost."""
    first, second = lock(tmp_path), lock(tmp_path)
    stale = second._open_file()
    first.acquire()
    first.release()
    assert not second._is_current(stale)
    os.close(stale)
    second.acquire()
    with pytest.raises(PortError, match="in use"):
        lock(tmp_path).acquire()
    second.release()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    held = lock(tmp_path)
    target = tmp_path / "precious"
    target.write_text("content")
    held._path.symlink_to(target)
    with pytest.raises(PortError, match="cannot be taken"):
        held.acquire()
    assert target.read_text() == "content"


def test_a_folder_that_is_not_there_is_our_error(tmp_path):
    with pytest.raises(PortError, match="cannot be taken"):
        lock(tmp_path / "nowhere").acquire()


def test_a_second_station_on_a_port_gets_a_clear_error_at_once(tmp_path):
    with SimulatedLine(tmp_path, board_count=1, seed=1) as line:
        url = line.slots[0].port_url
        with closing(open_port(url, timeout_s=1)):
            for same in (url, url.replace("127.0.0.1", "localhost"), f"{url}?reset=usb-jtag"):
                with pytest.raises(PortError, match="the serial port is in use") as refusal:
                    open_port(same, timeout_s=1)
                assert refusal.value.hint
        open_port(url, timeout_s=1).close()


def test_a_port_that_cannot_be_opened_is_not_kept_locked():
    for _ in range(2):
        with pytest.raises(PortError, match="Connection refused"):
            open_port("rfc2217://127.0.0.1:1", timeout_s=1)
