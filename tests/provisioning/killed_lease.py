"""A process whose children take, use, synchronise and end a lease, and kill themselves on the way.

`python -m tests.provisioning.killed_lease` reads one JSON line for each child: the factory's
folder, the ledger's address, what to do, hours since the start, and at which boundary to die, or
null; it answers with the signal or exit code that ended the child, and how many boundaries it
passed. A boundary is the moment right before, and right after, anything becomes durable: a commit
in the ledger or the outbox, a file that appears or moves.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import provisioning.lease_folder
import provisioning.lease_sync
import provisioning.ledger_witness
import provisioning.outbox_memory
from provisioning.errors import LeaseError
from provisioning.lease_giving_up import give_up
from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_database import LedgerDatabase
from provisioning.ledger_queries import list_units
from provisioning.ledger_witness import writing_as_station
from tests.provisioning.check_bench import BAD_NA, check, measure
from tests.provisioning.lease_bench import START, Factory, mac_of

BOARDS = {1: "MY1", 2: "MY1", 3: "MY2"}
"""Each with the meter that measures it."""
EVENTS_PER_PART = 7


class Boundaries:
    """Counts the boundaries that were passed, and dies at one of them."""

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self._last = last

    def pass_one(self) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner, name) -> None:
        original = getattr(owner, name)

        def act(*arguments, **options):
            self.pass_one()
            answer = original(*arguments, **options)
            self.pass_one()
            return answer

        setattr(owner, name, act)

    def wrap_commits(self) -> None:
        original = LedgerDatabase.writing

        @contextmanager
        def writing(database, *arguments, **options):
            with original(database, *arguments, **options) as connection:
                yield connection
                self.pass_one()
            self.pass_one()

        LedgerDatabase.writing = writing


def act(root: str, address: str, what: str, hours: int) -> None:
    folder = Path(root)
    factory = Factory(
        folder,
        parse_ledger_address(address, root=folder),
        clock=START + dt.timedelta(hours=hours),
        jobs_from=1000 * hours,
    )
    if what == "take":
        try:
            factory.take(days=2)
        except LeaseError as error:
            # Killed after the last boundary: nothing was left to do.
            assert error.what == "the station holds a lease already"  # noqa: PT017 - no test
    elif what == "work":
        opened = factory.offline()
        held = {one.mac for one in list_units(opened.ledger.database) if one.state == "hold"}
        for number, meter in BOARDS.items():
            if mac_of(number) not in held:
                measure(opened, number, meter=meter)
        # One meter is as it was, the other is not.
        check(opened, instrument="MY1")
        check(opened, BAD_NA, instrument="MY2", slot="right")
        opened.close()
    elif what == "give-up":
        put_away(factory)
    else:
        factory.sync()


def put_away(factory: Factory) -> None:
    """Give an outbox up that the ledger refuses, as `station sync --give-up` does it."""
    try:
        factory.sync()
    except LeaseError:
        ledger, writer = factory.open(), factory.writer()
        with writing_as_station(factory.folder(), ledger, station=writer.station):
            give_up(factory.folder(), ledger, writer, reason="the ledger was restored")
        ledger.close()


def main() -> None:
    import sqlalchemy.dialects.postgresql.psycopg
    import sqlalchemy.dialects.sqlite.pysqlite

    assert sqlalchemy  # imported once, for all children
    for line in sys.stdin:
        *arguments, last = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            boundaries = Boundaries(last)
            boundaries.wrap_commits()
            boundaries.wrap(provisioning.lease_folder, "save_durably")
            boundaries.wrap(provisioning.outbox_memory, "save_durably")
            boundaries.wrap(provisioning.ledger_witness, "save_durably")
            boundaries.wrap(provisioning.lease_folder.Path, "rename")
            provisioning.lease_sync.EVENTS_PER_PART = EVENTS_PER_PART
            act(*arguments)
            os.write(writer, str(boundaries.count).encode())
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        count = os.read(reader, 20).decode() or "0"
        os.close(reader)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {count}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
