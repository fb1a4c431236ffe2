"""Backups of ledgers that must not be restored: tests/rejected/backups."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.ledger_restore import restore_ledger
from provisioning.ledger_values import Writer
from signing.refusal import Refusal
from tests.gallery import Gallery, write_gallery

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[1] / "golden" / "ledger" / "backup-0003.jsonl"
NOW = dt.datetime(2026, 2, 19, 12, tzinfo=dt.UTC)
Lines = list[str]


def _sealed(change: Callable[[Lines], Lines]) -> bytes:
    """Return the golden backup with other rows, and a last line that matches them."""
    lines = change(GOLDEN.read_text(encoding="utf-8").splitlines()[:-1])
    body = "".join(f"{line}\n" for line in lines).encode()
    end = {"lines": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end, separators=(",", ":")).encode() + b"\n"


def _replaced(old: str, new: str) -> bytes:
    assert old in GOLDEN.read_text(encoding="utf-8"), old
    return _sealed(lambda lines: [line.replace(old, new) for line in lines])


def _without(place: int) -> Callable[[Lines], Lines]:
    return lambda lines: lines[:place] + lines[place + 1 :]


def _without_second_unit(lines: Lines) -> Lines:
    """Return a backup in which a station, its only unit and that unit's number never were."""
    header = json.loads(lines[0])
    del header["chains"]["station-2"]
    for table, count in (("serial_numbers", 2), ("units", 2), ("jobs", 2), ("events", 5)):
        header["tables"][table]["rows"] = count
    first = json.dumps(header, separators=(",", ":"))
    return [first, *(line for line in lines[1:] if "AMPFLR260700002P" not in line)]


def build_files() -> dict[str, bytes]:
    golden = GOLDEN.read_bytes()
    return {
        "bytes-after-the-end.jsonl": golden + b"\n",
        "changed-row.jsonl": golden.replace(b'"in-work"', b'"pass"'),
        "chain-shorter-than-stated.jsonl": _replaced('"station-1":[5,', '"station-1":[6,'),
        "column-unknown.jsonl": _replaced('"reserved_at"]', '"given_at"]'),
        "cut-in-the-middle.jsonl": golden[: len(golden) // 2],
        "cut-last-byte.jsonl": golden[:-1],
        "cut-last-line.jsonl": golden[: golden[:-1].rindex(b"\n") + 1],
        "empty.jsonl": b"",
        "epoch-as-text.jsonl": _replaced('"epoch":1', '"epoch":"1"'),
        "epoch-zero.jsonl": _replaced('"epoch":1', '"epoch":0'),
        "event-missing.jsonl": _sealed(
            lambda lines: [lines[0].replace('"rows":8', '"rows":7'), *lines[1:-1]]
        ),
        "from-the-future.jsonl": _replaced('"taken_at":"2026', '"taken_at":"2027'),
        "header-of-another-ledger.jsonl": _replaced('{"uuid":"6f0c3a52', '{"uuid":"00000000'),
        "hexadecimal-wrong.jsonl": _replaced('{"hex":"7cdfa1', '{"hex":"7cdfaX'),
        "key-unknown.jsonl": _replaced('"revision":', '"reversion":'),
        "mac-given-twice.jsonl": _replaced('"7cdfa1000002"', '"7cdfa1000001"'),
        "nested-too-deep.jsonl": b"[" * 100_000 + b"\n",
        "not-a-backup.jsonl": b'{"schema":"ampforge.unit-export/1"}\n',
        "not-utf8.jsonl": b'{"schema":"\xff"}\n',
        "number-too-large.jsonl": _replaced("2026,7,1,1,", "2026,7,18446744073709551617,1,"),
        "revision-later.jsonl": _replaced('"revision":"0003"', '"revision":"9999"'),
        "row-contradicts-events.jsonl": _replaced('"in-work"', '"fail"'),
        "row-missing.jsonl": _sealed(_without(2)),
        "row-of-another-table.jsonl": _replaced('["units",', '["jobs",'),
        "serial-number-gap.jsonl": _sealed(_without_second_unit),
        "table-unknown.jsonl": _replaced('"voided_ranges":', '"spare_ranges":'),
        "time-unreadable.jsonl": _replaced('"taken_at":"2026-02-10', '"taken_at":"10.02.2026'),
        "value-of-another-type.jsonl": _replaced('["units",["AMP', '["units",[["AMP"],"'),
    }


def read_backup(_name: str, content: bytes) -> object:
    """Restore a backup into an empty folder, where nothing must be left after a refusal."""
    ticks = itertools.count()
    writer = Writer(
        station="station-1",
        now=lambda: NOW + dt.timedelta(milliseconds=next(ticks)),
        new_job=lambda: "unused",
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("backup.jsonl").write_bytes(content)
        try:
            return restore_ledger(
                Path("backup.jsonl"), Path("ledger.sqlite3"), writer, opening="o", reason="test"
            )
        except Refusal:
            assert [path.name for path in Path().iterdir()] == ["backup.jsonl"]
            raise


BACKUPS = Gallery(
    name="backups",
    title="Refused backups of ledgers",
    about="Made by tests/provisioning/rejected_backups.py from the golden backup. A line of their "
    "own that matches again ends those whose rows were changed, so that the digest alone does not "
    "catch them.",
    build=build_files,
    read=read_backup,
)

if __name__ == "__main__":
    write_gallery(BACKUPS)
