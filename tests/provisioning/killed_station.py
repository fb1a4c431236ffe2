"""A process whose children run a station and kill themselves at a stated moment.

`python -m tests.provisioning.killed_station` reads one JSON line for each child: folder, slots, the
moment, the section `[station]` if it is not that of the defaults, and `adopt` where it is not a
run: then the board in the first slot is adopted. It answers with the signal or exit code that ended
the child. Children are forked, so that everything is imported once; the parent has no threads.

A moment is `["before", n]` or `["after", n]` the n-th durable commit, `["during", step, fraction]`
as the progress tells it, or `["exchange", n]`: after the n-th answer of the flash loader or the
application. A child that lives to its end leaves the number of exchanges in `EXCHANGES_NAME`.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path

from provisioning.board_adoption import adopt_board
from provisioning.device_link import DeviceLink
from provisioning.slots import run_slots
from provisioning.station_settings import StationSettings
from provisioning.station_values import SlotConfig
from provisioning.supervision import sign_act
from tests.dying_children import run_children
from tests.provisioning.station_bench import open_bench
from tests.signing.fixed_keys import fixed_signer

EXCHANGES_NAME = "exchanges.txt"


class DyingDatabase:
    """A ledger's database that kills its process around the n-th commit."""

    def __init__(self, database, moment):
        self._database = database
        self._moment = moment
        self._commits = 0

    def __getattr__(self, name):
        return getattr(self._database, name)

    @contextmanager
    def writing(self, *arguments, **options):
        with self._database.writing(*arguments, **options) as connection:
            yield connection
            self._commits += 1
            if self._moment == ["before", self._commits]:
                os.kill(os.getpid(), signal.SIGKILL)
        if self._moment == ["after", self._commits]:
            os.kill(os.getpid(), signal.SIGKILL)

    def run_at_once(self, *arguments):
        if self._moment == ["before", self._commits + 1]:
            os.kill(os.getpid(), signal.SIGKILL)
        written = self._database.run_at_once(*arguments)
        self._commits += written is not None
        if written is not None and self._moment == ["after", self._commits]:
            os.kill(os.getpid(), signal.SIGKILL)
        return written


class ExchangeCounter:
    """Counts answers from a board, and dies with the n-th; the child's own classes are wrapped."""

    def __init__(self, last):
        self.count = 0
        self._last = last

    def wrap(self, owner, name):
        original = getattr(owner, name)

        def exchange(*arguments, **options):
            answer = original(*arguments, **options)
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(owner, name, exchange)


def run_and_die(
    folder: str,
    slots: list[list[str]],
    moment: list[object],
    section: dict[str, object] | None = None,
    what: str = "run",
) -> None:
    from esptool.loader import ESPLoader

    counter = ExchangeCounter(moment[1] if moment[0] == "exchange" else None)
    counter.wrap(DeviceLink, "request")
    counter.wrap(ESPLoader, "command")
    station = open_bench(Path(folder), StationSettings.model_validate(section or {}))
    station.ledger.database = DyingDatabase(station.ledger.database, moment)

    def on_progress(progress):
        if moment[:2] == ["during", progress.step.value] and progress.fraction >= moment[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "adopt":
        adopt_board(
            station, slots[0][1], reason="lost with the ledger",
            sign=lambda order: sign_act(order, [fixed_signer("supervisor")]),
        )  # fmt: skip
        station.close()
        return
    configs = [SlotConfig(name=name, port=port, meter=meter) for name, port, meter in slots]
    run_slots(station, configs, on_progress=on_progress)
    (Path(folder) / EXCHANGES_NAME).write_text(str(counter.count))


def main() -> None:
    import espefuse
    import esptool.loader
    import numpy as np
    import pyvisa_py
    import sqlalchemy.dialects.sqlite.pysqlite

    import provisioning.calibration
    import provisioning.esptool_log
    import provisioning.verification

    # Imported once, for all children; a child that imports for itself takes a third longer.
    assert np, (espefuse, esptool, pyvisa_py, sqlalchemy, provisioning)

    run_children(run_and_die)


if __name__ == "__main__":
    main()
