"""Works on several slots at once, each in its own thread; none can stop another.

A unit that fails and a slot that breaks are both results here. A bug is neither: it is raised when
all other slots are done.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from provisioning.check_entry import Moment
from provisioning.errors import StationError
from provisioning.ledger_queries import awaits_check
from provisioning.station_checking import check_slot
from provisioning.station_values import SlotResult
from provisioning.unit_run import UnitRun
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioning.station import Station
    from provisioning.station_values import Progress, SlotConfig

SLOT_COUNT_MAX = 64


def run_slots(
    station: Station,
    slots: Sequence[SlotConfig],
    *,
    again: bool = False,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    on_result: Callable[[SlotResult], None] = lambda _result: None,
    stop: threading.Event | None = None,
) -> tuple[SlotResult, ...]:
    """Take the board in every slot through the workflow.

    Args:
        station: What all slots share.
        slots: Where the boards are; names and ports are distinct.
        again: Work on units that passed already.
        on_progress: Told every piece of news, from the slots' threads, one call at a time.
        on_result: Told each slot's result as soon as it is there, likewise.
        stop: Set it to stop all slots at their next step; Ctrl-C does so, too.

    Returns:
        One result for each slot, in the same order.

    Raises:
        StationError: Two slots have the same name or port.
    """
    _require_distinct(slots)
    stopping = stop or threading.Event()
    telling = threading.Lock()

    def tell(progress: Progress) -> None:
        with telling:
            on_progress(progress)

    def check(slot: SlotConfig, moment: Moment) -> None:
        check_slot(station.opened, station.settings, slot, moment, now=station.outside.now)

    def work(slot: SlotConfig) -> SlotResult:
        run = UnitRun(station, slot, again=again, on_progress=tell, is_stopping=stopping.is_set)
        try:
            check(slot, Moment.START)
            report = run.run()
            check(slot, Moment.CLOSE)
            result = SlotResult(
                slot=slot,
                report=report,
                error=None,
                awaits_check=station.settings.check_standard is not None
                and awaits_check(station.ledger.database, report.serial),
            )
        except Refusal as error:
            result = SlotResult(slot=slot, report=None, error=error)
        with telling:
            on_result(result)
        return result

    with ThreadPoolExecutor(max_workers=len(slots), thread_name_prefix="slot") as pool:
        futures = [pool.submit(work, slot) for slot in slots]
        try:
            return tuple(future.result() for future in futures)
        except BaseException:
            stopping.set()
            raise


def _require_distinct(slots: Sequence[SlotConfig]) -> None:
    if not 1 <= len(slots) <= SLOT_COUNT_MAX:
        raise StationError(
            "the number of slots is not usable",
            expected=f"1 to {SLOT_COUNT_MAX}",
            got=len(slots),
            hint="give --slots port=…,meter=…, or [[station.slots]] in ampforge.toml: `ampforge "
            "station ports` lists the ports; or --simulate 2 without any hardware",
        )
    for what, values in (
        ("name", [slot.name for slot in slots]),
        ("port", [slot.port for slot in slots]),
        ("meter", [slot.meter for slot in slots]),
    ):
        if len(set(values)) != len(values):
            raise StationError(
                f"two slots have the same {what}",
                expected=f"a {what} for each slot",
                got=", ".join(values),
                hint="each board needs its own port, and its own meter",
            )
