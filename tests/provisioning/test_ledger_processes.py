"""Several stations at once, each a process of its own, on one ledger."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from provisioning.errors import LedgerError
from provisioning.instrument_register import read_register
from provisioning.ledger import Ledger
from provisioning.ledger_queries import list_serials
from provisioning.serial_numbers import parse_serial
from tests.conftest import IS_SOAK
from tests.provisioning.entering_stations import REFUSED
from tests.provisioning.ledger_sites import BACK_ENDS, a_writer, made_site, reserve
from tests.untraced import untraced_environment

ROOT = Path(__file__).parents[2]
STATIONS = 8
UNITS_EACH = 2_000 if IS_SOAK else 15
OVERLAP = UNITS_EACH // 3


def run_stations(address, folder, plan):
    """Run stations at once; return how each ended, and what each board was told."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.provisioning.allocating_stations", str(address), str(folder)],
        input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        env=untraced_environment(),
    )  # fmt: skip
    given: dict[int, str] = {}
    for name in plan:
        for line in (folder / name).read_text().splitlines():
            mac, serial = json.loads(line)
            assert given.setdefault(mac, serial) == serial
    return json.loads(ended.stdout), given


def overlapping(count):
    """Ranges of boards of which some are met by two stations."""
    return {f"s-{n}": [n * UNITS_EACH, (n + 1) * UNITS_EACH + OVERLAP, None] for n in range(count)}


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_eight_stations_give_no_number_twice_and_leave_no_gap(back_end, tmp_path, request):
    site = made_site(back_end, tmp_path, request)
    codes, given = run_stations(site.address, tmp_path, overlapping(STATIONS))
    assert codes == dict.fromkeys(codes, 0)
    boards = STATIONS * UNITS_EACH + OVERLAP
    assert len(given) == len(set(given.values())) == boards
    sequences = sorted(parse_serial(serial).sequence for serial in given.values())
    assert sequences == list(range(1, boards + 1))
    ledger = Ledger.open(site.address)
    chains = ledger.verify_chains()
    assert sorted(chains) == sorted(codes)
    assert len(codes) == STATIONS
    reserved = STATIONS * (UNITS_EACH + OVERLAP)
    assert sum(count for count, _ in chains.values()) > reserved
    ledger.close()


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_stations_that_are_killed_leave_no_gap_and_hold_up_nobody(back_end, tmp_path, request):
    """SIGKILL right before and right after a commit; what was told is kept, by all."""
    site = made_site(back_end, tmp_path, request)
    plan = overlapping(4)
    plan["s-0"][2], plan["s-1"][2] = ["before", 4], ["after", 5]
    codes, given = run_stations(site.address, tmp_path, plan)
    assert codes == {"s-0": -signal.SIGKILL, "s-1": -signal.SIGKILL, "s-2": 0, "s-3": 0}
    ledger = Ledger.open(site.address)
    ledger.verify_chains()
    serials = {serial.mac: serial.serial for serial in list_serials(ledger.database)}
    sequences = sorted(parse_serial(serial).sequence for serial in serials.values())
    assert sequences == list(range(1, len(serials) + 1))
    for mac, serial in given.items():
        assert serials[mac.to_bytes(6, "big")] == serial
    ledger.close()


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_of_stations_that_enter_one_certificate_at_once_one_wins(back_end, tmp_path, request):
    site = made_site(back_end, tmp_path, request)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.provisioning.entering_stations", str(site.address), "6"],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        env=untraced_environment(),
    )  # fmt: skip
    assert json.loads(ended.stdout) == [0, *[REFUSED] * 5]
    ledger = Ledger.open(site.address)
    ledger.verify_chains()
    (entered,) = read_register(ledger)
    assert entered.entry.certificate == "K-1"
    ledger.close()


FILLER = """
import datetime as dt, resource, signal, sys, uuid
from contextlib import closing
from pathlib import Path
from provisioning.errors import LedgerError
from provisioning.instrument_register import read_register
from provisioning.ledger import Ledger
from provisioning.ledger_values import Writer
path = Path(sys.argv[1])
if sys.argv[2] == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = sum(one.stat().st_size for one in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 900_000, resource.RLIM_INFINITY))
ledger = Ledger.open(path)
writer = Writer(station="s", now=lambda: dt.datetime(2026, 2, 10, tzinfo=dt.UTC),
                new_job=lambda: str(uuid.uuid4()))
for n in range(100_000):
    try:
        print(ledger.reserve(writer, mac=n.to_bytes(6, "big"), prefix="AMP", model="FLR",
              bundle_digest=bytes(32), again=False).serial, flush=True)
    except LedgerError as error:
        print(f"stopped: {error.what} | {error.hint}", flush=True)
        break
"""


def fill_until_it_stops(path, how):
    ended = subprocess.run(
        [sys.executable, "-c", FILLER, str(path), how], capture_output=True, text=True, check=True
    )
    *serials, stop = ended.stdout.splitlines()
    assert stop.startswith("stopped: ")
    return serials, stop


def require_exactly(path, serials):
    """Every number that was told is in the ledger, and none beside; and work goes on."""
    ledger = Ledger.open(path)
    assert [one.serial for one in list_serials(ledger.database)] == sorted(serials)
    ledger.verify_chains()
    ledger.close()


def test_a_file_that_cannot_grow_is_a_clear_stop_and_nothing_is_lost(tmp_path, request):
    site = made_site("sqlite", tmp_path, request)
    serials, stop = fill_until_it_stops(site.address, "limit")
    assert "disk" in stop
    assert len(serials) > 5
    require_exactly(site.address, serials)


def remount(folder, how):
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)  # noqa: S607


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount, and not everywhere")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def test_a_full_disk_is_a_clear_stop_and_nothing_is_lost(small_disk, request):
    site = made_site("sqlite", small_disk, request)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 900_000))
    serials, stop = fill_until_it_stops(site.address, "disk")
    assert "is full" in stop
    assert "make room" in stop
    assert len(serials) > 5
    ballast.unlink()
    require_exactly(site.address, serials)


def test_a_disk_that_became_read_only_is_a_clear_stop_for_who_writes(small_disk, request):
    site = made_site("sqlite", small_disk, request)
    ledger = Ledger.open(site.address)
    given = reserve(ledger, a_writer()).serial
    ledger.close()
    remount(small_disk, "ro")
    with closing(Ledger.open(site.address)) as ledger:
        with pytest.raises(LedgerError, match="can only be read") as refusal:
            reserve(ledger, a_writer(), mac=bytes(6))
        assert refusal.value.hint
        assert [one.serial for one in list_serials(ledger.database)] == [given]
    remount(small_disk, "rw")
    require_exactly(site.address, [given])


def test_a_station_that_is_stopped_holds_the_others_up_for_no_longer_than_the_limit(
    tmp_path, request, monkeypatch
):
    """A frozen process keeps its lock on PostgreSQL; the server takes it away."""
    monkeypatch.setattr("provisioning.postgres_engine.IDLE_IN_TRANSACTION_TIMEOUT_S", 1)
    site = made_site("postgres", tmp_path, request)
    frozen, other = Ledger.open(site.address), Ledger.open(site.address)
    started_s = time.monotonic()
    with pytest.raises(LedgerError, match="nothing was committed"), frozen.database.writing():
        assert reserve(other, a_writer()).is_new  # waits until the frozen one was cut off
    assert 0.5 < time.monotonic() - started_s < 60
    other.verify_chains()
    frozen.close()
    other.close()


@pytest.fixture
def held_file(tmp_path, request):
    """An open ledger in a file, and another program that holds its write lock."""
    site = made_site("sqlite", tmp_path, request)
    ledger = Ledger.open(site.address)
    holder = sqlite3.connect(site.address, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    yield ledger, holder
    holder.close()
    ledger.close()


def test_a_writer_before_a_locked_file_goes_on_as_soon_as_it_is_free(held_file):
    ledger, holder = held_file
    release = threading.Timer(0.3, holder.execute, ["ROLLBACK"])
    release.start()
    started_s = time.monotonic()
    assert reserve(ledger, a_writer()).is_new
    assert 0.2 < time.monotonic() - started_s < 60
    release.join()


def test_a_file_that_stays_locked_is_told_and_left_as_it_was(held_file, monkeypatch):
    monkeypatch.setattr("provisioning.sqlite_engine.BUSY_TIMEOUT_S", 0.2)
    ledger, holder = held_file
    with pytest.raises(LedgerError, match="another writer holds the ledger") as refusal:
        reserve(ledger, a_writer())
    assert "stop it" in refusal.value.hint
    holder.execute("ROLLBACK")
    assert reserve(ledger, a_writer()).is_new
    ledger.verify_chains()


def test_a_file_that_became_something_else_is_our_error(tmp_path, request):
    site = made_site("sqlite", tmp_path, request)
    ledger = Ledger.open(site.address)
    ledger.database._engine.dispose()
    site.address.write_bytes(b"no database at all" * 1000)
    with pytest.raises(LedgerError, match="cannot be read or written") as refusal:
        reserve(ledger, a_writer())
    assert refusal.value.hint
