"""Reports of many connections share commits; each is answered when it is on the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from manifests import report_batches
from manifests.errors import FleetStoreError
from manifests.fleet import FleetStore
from manifests.received_report import ReceivedReport, receive_report
from manifests.report_batches import ReportBatches
from tests.manifests.test_device_messages import REPORT
from tests.manifests.world import NOW


def received(number: int) -> ReceivedReport:
    report = replace(REPORT, freshness_sequence=number)
    return receive_report(report, b"signed", now=NOW)


def count_rows(path) -> int:
    with closing(sqlite3.connect(path)) as other:
        return other.execute("SELECT count(*) FROM report").fetchone()[0]


@pytest.fixture
def store(tmp_path):
    with closing(FleetStore(tmp_path / "reports.sqlite")) as opened:
        yield opened


class SlowStore:
    """A store that waits before each commit until it may go on."""

    def __init__(self, store):
        self.store = store
        self.may_go_on = threading.Event()
        self.sizes = []

    def add_reports(self, batch):
        self.may_go_on.wait(10)
        self.sizes.append(len(batch))
        return self.store.add_reports(batch)


def test_what_comes_during_a_commit_is_the_next_commit(store, tmp_path):
    slow = SlowStore(store)
    batches = ReportBatches(slow)

    async def scenario():
        tasks = [asyncio.create_task(batches.add(received(0)))]
        await asyncio.sleep(0)
        while batches._waiting:  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0)
        tasks += [asyncio.create_task(batches.add(received(number % 40))) for number in range(60)]
        await asyncio.sleep(0)
        assert count_rows(tmp_path / "reports.sqlite") == 0
        assert not any(task.done() for task in tasks)
        slow.may_go_on.set()
        return await asyncio.gather(*tasks)

    are_new = asyncio.run(scenario())
    batches.close()
    assert slow.sizes == [1, 60]
    assert batches.commits == 2
    # Number 0 came twice more, 1 to 19 once more.
    assert are_new == [True, False, *[True] * 39, *[False] * 20]
    assert count_rows(tmp_path / "reports.sqlite") == 40


def test_a_batch_that_cannot_be_stored_is_refused_whole_and_the_next_is_not(store, tmp_path):
    batches = ReportBatches(store)
    path = tmp_path / "reports.sqlite"

    async def add(numbers):
        return await asyncio.gather(
            *(batches.add(received(number)) for number in numbers), return_exceptions=True
        )

    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON report WHEN NEW.freshness_sequence = 3 "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    outcomes = asyncio.run(add(range(5)))
    # Which others are in its batch is a matter of time.
    assert isinstance(outcomes[3], FleetStoreError)
    assert all(outcome is True or isinstance(outcome, FleetStoreError) for outcome in outcomes)
    assert count_rows(path) == sum(outcome is True for outcome in outcomes)
    assert asyncio.run(add([5, 6])) == [True, True]
    batches.close()


def test_more_than_may_wait_are_refused(store, monkeypatch):
    monkeypatch.setattr(report_batches, "WAITING_MAX", 2)
    slow = SlowStore(store)
    batches = ReportBatches(slow)

    async def scenario():
        tasks = [asyncio.create_task(batches.add(received(0)))]
        await asyncio.sleep(0)
        while batches._waiting:  # noqa: ASYNC110 - the thread tells nobody
            await asyncio.sleep(0)
        tasks += [asyncio.create_task(batches.add(received(number))) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(FleetStoreError, match="too many"):
            await batches.add(received(3))
        slow.may_go_on.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(scenario()) == [True, True, True]
    batches.close()

    async def late():
        await batches.add(received(10))

    with pytest.raises(FleetStoreError):
        asyncio.run(late())


def test_a_report_that_was_acknowledged_survives_a_kill(tmp_path):
    path = tmp_path / "reports.sqlite"
    script = (
        "import asyncio, os\nfrom pathlib import Path\n"
        "from manifests.fleet import FleetStore\n"
        "from manifests.report_batches import ReportBatches\n"
        "from tests.manifests.test_report_batches import received\n"
        f"batches = ReportBatches(FleetStore(Path({str(path)!r})))\n"
        "async def add():\n"
        "    await asyncio.gather(*(batches.add(received(n)) for n in range(100)))\n"
        "    print('acknowledged', flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(add())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert ended.stdout == "acknowledged\n", ended.stderr
    assert count_rows(path) == 100


def test_a_report_waits_for_one_that_is_being_verified_only_so_long(store):
    batches = ReportBatches(store)

    async def scenario():
        with batches.expecting():
            return await asyncio.wait_for(batches.add(received(1)), 10)

    assert asyncio.run(scenario())
    batches.close()


def test_a_report_that_joins_when_the_others_are_held_back_no_longer_ends_nothing(
    store, monkeypatch
):
    monkeypatch.setattr(report_batches, "HELD_BACK_MAX_S", 0)

    async def scenario(batches, turns):
        with batches.expecting():
            begun = [batches.begin(received(3 * turns))]
            for _ in range(turns):
                await asyncio.sleep(0)
            begun.append(batches.begin(received(3 * turns + 1)))
        await asyncio.gather(*begun)
        return await batches.add(received(3 * turns + 2))

    for turns in range(6):
        batches = ReportBatches(store)
        assert asyncio.run(asyncio.wait_for(scenario(batches, turns), 10))
        batches.close()


def test_reports_wait_for_those_that_are_being_verified_and_not_for_refused_ones(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_batches, "HELD_BACK_MAX_S", 3600)
    batches = ReportBatches(store)
    path = tmp_path / "reports.sqlite"

    async def verify_and_add(number, verified):
        with batches.expecting():
            await verified
        return await batches.add(received(number))

    async def scenario():
        loop = asyncio.get_running_loop()
        verified = [loop.create_future() for _ in range(4)]
        tasks = [asyncio.create_task(verify_and_add(n, one)) for n, one in enumerate(verified)]
        await asyncio.sleep(0)
        for one in verified[:3]:
            one.set_result(None)
        for _ in range(20):
            await asyncio.sleep(0)
        # Three are here, and the fourth is expected.
        assert batches.commits == 0
        verified[3].set_exception(ValueError("refused"))
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    batches.close()
    assert outcomes[:3] == [True, True, True]
    assert isinstance(outcomes[3], ValueError)
    assert batches.commits == 1
    assert count_rows(path) == 3


def test_enough_reports_wait_for_no_other(store, monkeypatch):
    monkeypatch.setattr(report_batches, "GATHERED_MAX", 3)
    batches = ReportBatches(store)

    async def scenario():
        with batches.expecting():
            return await asyncio.gather(*(batches.add(received(number)) for number in range(3)))

    assert asyncio.run(scenario()) == [True] * 3
    batches.close()
    assert batches.commits == 1
