"""Stations that enter the same certificate at the same moment, each in a process of its own.

`python -m tests.provisioning.entering_stations ADDRESS COUNT` writes how each ended as a JSON list.
The children are forked, so that everything is imported once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path

import psycopg
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite.pysqlite

from provisioning.errors import InstrumentRegisterError
from provisioning.instrument_register import add_instrument, build_entry
from provisioning.ledger import Ledger
from provisioning.ledger_address import parse_ledger_address
from tests.provisioning.ledger_sites import START, a_writer

REFUSED = 3
assert psycopg, sqlalchemy  # imported once, for all children


def enter(ledger: Ledger, name: str) -> int:
    entry = build_entry(
        serial_number="MY1", maker="Keysight", model="34465A", certificate="K-1",
        calibrated=START.date(), due=START.date() + dt.timedelta(days=365), read_from="hand",
        entered_by=name,
    )  # fmt: skip
    try:
        add_instrument(ledger, a_writer(name), entry)
    except InstrumentRegisterError as error:
        assert "already" in error.what  # noqa: PT017 - the code is what the parent asserts
        return REFUSED
    return 0


def main() -> None:
    address, count = sys.argv[1], int(sys.argv[2])
    barrier_read, barrier_write = os.pipe()
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            os.close(barrier_write)
            try:
                ledger = Ledger.open(parse_ledger_address(address, root=Path()))
                os.read(barrier_read, 1)  # until all are there
                code = enter(ledger, f"station-{number}")
                ledger.close()
            except BaseException:  # noqa: BLE001 - a forked child must not return
                sys.excepthook(*sys.exc_info())
                code = 1
            os._exit(code)
        children.append(child)
    os.close(barrier_write)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    json.dump(sorted(codes), sys.stdout)


if __name__ == "__main__":
    main()
