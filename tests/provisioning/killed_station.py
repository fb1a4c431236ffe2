"""A process whose children run a station and kill themselves at a stated moment.

`python -m tests.provisioning.killed_station` reads one JSON line for each child: folder, slots and
the moment; it answers with the signal or exit code that ended the child. Children are forked, so
that everything is imported once; the parent has no threads.

A moment is `["before", n]` or `["after", n]` the n-th durable commit, or `["during", step,
fraction]` as the progress tells it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from provisioning.slots import run_slots
from provisioning.station_values import SlotConfig
from tests.provisioning.station_bench import open_bench


class DyingDatabase:
    """A ledger's database that kills its process around the n-th commit."""

    def __init__(self, database, moment):
        self._database = database
        self._moment = moment
        self._commits = 0

    def __getattr__(self, name):
        return getattr(self._database, name)

    @contextmanager
    def writing(self, question=None):
        with self._database.writing(question) as connection:
            yield connection
            self._commits += 1
            if self._moment == ["before", self._commits]:
                os.kill(os.getpid(), signal.SIGKILL)
        if self._moment == ["after", self._commits]:
            os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(folder: str, slots: list[list[str]], moment: list[object]) -> None:
    station = open_bench(Path(folder))
    station.ledger.database = DyingDatabase(station.ledger.database, moment)

    def on_progress(progress):
        if moment[:2] == ["during", progress.step.value] and progress.fraction >= moment[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    configs = [SlotConfig(name=name, port=port, meter=meter) for name, port, meter in slots]
    run_slots(station, configs, on_progress=on_progress)


def main() -> None:
    import numpy as np
    import pyvisa_py
    import sqlalchemy.dialects.sqlite.pysqlite

    import provisioning.calibration
    import provisioning.esptool_log
    import provisioning.verification

    # Imported once, for all children; a child that imports for itself takes a third longer.
    assert np, (pyvisa_py, sqlalchemy, provisioning)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run_and_die(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
