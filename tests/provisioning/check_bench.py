"""Measurements and readings of a check standard as events, without boards and instruments."""

from __future__ import annotations

from provisioning.check_entry import CheckFacts, Moment
from provisioning.ledger_checks import record_check
from provisioning.ledger_events import Phase
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_values import SerialState, UnitState
from tests.provisioning.lease_bench import reserve

GOOD_NA, BAD_NA = 500_010.0, 501_000.0
METER = "MY1"
STANDARD_SECTION = {
    "name": "source 7", "channel": 105, "resistance_ohm": 10_000, "reference_na": 500_000.0,
    "expanded_uncertainty_na": 50.0, "limit_na": 400.0, "sd_na": 20.0,
}  # fmt: skip


def facts(mean_na: float = GOOD_NA, **changes) -> CheckFacts:
    values = {
        "standard": "source 7", "slot": "left", "instrument": METER, "certificate": "K-1",
        "moment": Moment.CLOSE, "mean_na": mean_na, "samples_na": (mean_na,), "range_ua": 1000,
        "reference_na": 500_000.0, "expanded_uncertainty_na": 50.0, "limit_na": 400.0,
        "sd_na": 20.0,
    }  # fmt: skip
    return CheckFacts(**(values | changes))


def ledger_and_writer(opened):
    return (opened.ledger, opened.writer) if hasattr(opened, "ledger") else opened


def measure(
    opened, number, *, meter=METER, verified_by=None, rechecked_by=None, verdict=UnitState.PASS,
    again=False, awaits_check=True,
):  # fmt: skip
    """Do with one board what a station with a check standard writes down of it."""
    ledger, writer = ledger_and_writer(opened)
    reservation = reserve(opened, number, again=again)
    if reservation.job is None:
        return reservation.serial  # it passed before
    meters = {"identity": None, "calibrate": meter, "verify": verified_by or meter}
    if rechecked_by is not None:
        meters["recheck"] = rechecked_by
    for step, instrument in meters.items():
        result = {"instrument": {"serial_number": instrument}}
        for phase in (Phase.INTENT, Phase.CONFIRM):
            is_proof = (step, phase) == ("identity", Phase.CONFIRM)
            ledger.append(
                writer, step=step, phase=phase, data={"result": result}, reservation=reservation,
                serial_state=SerialState.ASSIGNED if is_proof else None,
            )  # fmt: skip
    if verdict is not None:
        ledger.finish(
            writer, reservation=reservation, unit_state=verdict, data={"reasons": []},
            awaits_check=awaits_check,
        )  # fmt: skip
    return reservation.serial


def check(opened, mean_na: float = GOOD_NA, **changes):
    """Read the standard, as a station does that is offline or not."""
    ledger, writer = ledger_and_writer(opened)
    may_release = not getattr(opened, "is_offline", False)
    return record_check(
        ledger, writer, facts(mean_na, **changes), may_release=may_release,
        after=getattr(opened, "known", None),
    )  # fmt: skip


def standing(ledger) -> dict[int, tuple[str, str]]:
    """Return for each board where its unit and its number stand."""
    numbers = {one.serial: one.state.value for one in list_serials(ledger.database)}
    return {
        int.from_bytes(unit.mac[3:], "big"): (unit.state.value, numbers[unit.serial])
        for unit in list_units(ledger.database)
    }
