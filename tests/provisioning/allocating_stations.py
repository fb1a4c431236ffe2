"""Stations that give numbers at the same time, each in a process of its own.

`python -m tests.provisioning.allocating_stations ADDRESS FOLDER` reads a JSON object from stdin:
for each station the first and last board (as numbers, not included), and the moment at which it
kills itself, as `tests.provisioning.killed_station` has it, or null. Each writes what it was told
into the file FOLDER/STATION. The children are forked, so that everything is imported once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import uuid
from pathlib import Path

import psycopg
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite

from provisioning.errors import LedgerError
from provisioning.ledger import Ledger
from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_events import Phase
from provisioning.ledger_values import SerialState, Writer
from tests.provisioning.killed_station import DyingDatabase

NOW = dt.datetime(2026, 2, 10, tzinfo=dt.UTC)
assert psycopg, sqlalchemy  # imported once, for all children


def allocate(address: str, name: str, path: Path, plan: list) -> None:
    first, last, moment = plan
    ledger = Ledger.open(parse_ledger_address(address, root=Path()))
    ledger.database = DyingDatabase(ledger.database, moment)
    writer = Writer(station=name, now=lambda: NOW, new_job=lambda: str(uuid.uuid4()))
    with path.open("w") as told:
        for number in range(first, last):
            given = ledger.reserve(
                writer, mac=number.to_bytes(6, "big"), prefix="AMP", model="FLR",
                bundle_digest=bytes(32), again=False,
            )  # fmt: skip
            told.write(json.dumps([number, given.serial]) + "\n")
            told.flush()
            if number % 3 == 0 and not given.is_resumed:
                try:
                    ledger.append(
                        writer, step="identity", phase=Phase.CONFIRM, data={}, reservation=given,
                        serial_state=SerialState.ASSIGNED,
                    )  # fmt: skip
                except LedgerError as error:
                    # The next station met the same board, and has its job now.
                    assert error.what == "another station works on this board now"  # noqa: PT017
    ledger.close()


def main() -> None:
    address, folder = sys.argv[1], Path(sys.argv[2])
    plan = json.load(sys.stdin)
    barrier_read, barrier_write = os.pipe()
    children = {}
    for name, what in plan.items():
        children[name] = os.fork()
        if children[name] == 0:
            os.close(barrier_write)
            os.read(barrier_read, 1)  # until all are there
            try:
                allocate(address, name, folder / name, what)
            except BaseException:  # noqa: BLE001 - a forked child must not return
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
    os.close(barrier_write)
    codes = {
        name: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for name, child in children.items()
    }
    json.dump(codes, sys.stdout)


if __name__ == "__main__":
    main()
