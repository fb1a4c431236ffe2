"""Damage in the report database is found where nobody reads or writes, and told."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from manifests.device_report import serialize_device_report
from manifests.fleet import FleetStore
from manifests.received_report import digest_of, receive_report
from manifests.report_database_check import ReportDatabaseChecks, find_damage
from manifests.server_app import RepositoryApp
from manifests.service_parts import ServiceParts
from tests.manifests.test_device_messages import REPORT
from tests.manifests.test_server_health import health, publisher, serving, wait_until  # noqa: F401 - a fixture
from tests.manifests.test_server_metrics import ask as ask_port
from tests.manifests.world import NOW, trust

COUNT = 200


def received(number):
    report = replace(REPORT, serial_number=f"FL{number:06}")
    message = b"certificate" + serialize_device_report(report) + b"signature"
    return receive_report(report, message, now=NOW)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a database with many reports, all of them in its one file."""
    path = tmp_path_factory.mktemp("reports") / "reports.sqlite"
    with closing(FleetStore(path)) as fleet:
        fleet.add_reports([received(number) for number in range(COUNT)])
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, content):
    path = tmp_path / "reports.sqlite"
    path.write_bytes(content)
    return path


def page_bytes(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA page_size").fetchone()[0]


def test_no_damage_is_found_where_there_is_none(path):
    before = path.read_bytes()
    assert find_damage(path, after=b"") == ("", b"")
    assert path.read_bytes() == before


def test_every_page_that_is_overwritten_is_found(path):
    """Tables, indices and the header: each in turn, as a disk that lost a block would have it."""
    content, size_bytes = path.read_bytes(), page_bytes(path)
    assert len(content) > 30 * size_bytes
    for offset_bytes in range(0, len(content), size_bytes):
        damaged = bytearray(content)
        damaged[offset_bytes : offset_bytes + size_bytes] = bytes(size_bytes)
        path.write_bytes(damaged)
        assert find_damage(path, after=b"")[0], f"page {offset_bytes // size_bytes + 1}"


def test_a_single_flipped_bit_of_what_a_device_said_is_found(path):
    """SQLite's own check passes over it: the structure is as it was."""
    content = path.read_bytes()
    report = received(COUNT // 2).report
    for told in (report.serial_number.encode(), digest_of(report)):
        at = content.index(told, content.index(told) + 1)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        assert "not what was stored" in find_damage(path, after=b"")[0]


def test_a_large_database_is_looked_at_in_parts_and_then_from_the_beginning(path):
    digests = sorted(digest_of(received(number).report) for number in range(COUNT))
    damage, after = find_damage(path, after=b"", rows_max=150)
    assert (damage, after) == ("", digests[149])
    assert find_damage(path, after=after, rows_max=150) == ("", b"")


def test_a_locked_or_missing_database_is_not_called_damaged(path):
    path.rename(path.with_suffix(".away"))
    with pytest.raises(sqlite3.Error):
        find_damage(path, after=b"")
    assert not path.exists()


def test_what_was_found_is_told_once_by_who_checks_and_by_health(path, publisher):  # noqa: F811
    """The first check is well; then the file is damaged in a place that nobody writes to."""
    told, ended = [], []

    def clock():
        ended[-1].set()
        return NOW

    async def check_once():
        ended.append(asyncio.Event())
        task = asyncio.create_task(checks.run())
        async with asyncio.timeout(30):
            await ended[-1].wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    with closing(FleetStore(path)) as fleet:
        checks = ReportDatabaseChecks(path, on_damage=told.append, clock=clock, first_s=0)
        parts = ServiceParts(trust=trust(), fleet=fleet, database_checks=checks)
        app = RepositoryApp(publisher.store.root, parts)
        asyncio.run(check_once())
        assert (checks.damage, checks.checked_at, told) == (None, NOW, [])
        assert health(app)[1]["reports"] == "stored"
        size_bytes = page_bytes(path)
        with path.open("r+b") as file:
            file.seek(-size_bytes, os.SEEK_END)
            file.write(bytes(size_bytes))
        asyncio.run(check_once())
        asyncio.run(check_once())
        assert told == [checks.damage]
        status, document = health(app)
        assert (status, document["status"]) == (503, "the report database is damaged")
        assert document["reports"] == "stored beside damaged ones"
        app.close()


def test_a_server_finds_by_itself_what_was_damaged_while_it_was_down(path, publisher):  # noqa: F811
    damaged = bytearray(path.read_bytes())
    size_bytes = page_bytes(path)
    damaged[-size_bytes:] = bytes(size_bytes)
    path.write_bytes(damaged)
    with serving(publisher, path.parent, first_check_s=0) as (server, _, look):
        status, told, samples = wait_until(look, "stored beside damaged ones")
        assert (status, told["status"]) == (503, "the report database is damaged")
        assert samples["ampforge_report_database_damaged"] == 1
        assert samples["ampforge_report_database_checked_seconds"] > 0
        # It goes on with what it can do.
        assert ask_port(server.port, "GET", "/metadata/timestamp.json")[0] == 200
