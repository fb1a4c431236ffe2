"""How the register of instruments is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import count_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from provisioning.instrument_impact import TouchedUnit
    from provisioning.instrument_register import RegisteredInstrument


def describe_due(one: RegisteredInstrument, *, today: dt.date, warning_days: int) -> str:
    """Say in words how an instrument stands: good, due soon, or overdue."""
    left = one.days_left(today)
    if left < 0:
        return f"OVERDUE by {count_of(-left, 'day')}: no station measures with it"
    if left <= warning_days:
        return (
            f"DUE SOON, in {count_of(left, 'day')}: send it to calibration" if left else "DUE TODAY"
        )
    return f"good for {count_of(left, 'day')}"


def entry_document(
    one: RegisteredInstrument, *, today: dt.date, warning_days: int, is_current: bool
) -> dict[str, object]:
    """Return an entry as JSON values."""
    left = one.days_left(today)
    return {
        **one.entry.model_dump(mode="json"),
        "days_left": left,
        "is_overdue": left < 0,
        "is_due_soon": 0 <= left <= warning_days,
        "is_current": is_current,
        "entered_at": one.at.isoformat(),
        "event": {"station": one.station, "number": one.number},
    }


def format_entries(
    entries: Sequence[RegisteredInstrument], *, today: dt.date, warning_days: int
) -> Iterator[str]:
    """Yield lines for a person."""
    if not entries:
        yield "no instrument is in the register: only the simulated one may measure"
        yield "next: `ampforge instrument add`"
    for one in entries:
        entry = one.entry
        yield f"{entry.serial_number}  {entry.maker} {entry.model}, certificate {entry.certificate}"
        yield (
            f"  calibrated {entry.calibrated}, due {entry.due}: "
            f"{describe_due(one, today=today, warning_days=warning_days)}"
        )
        accuracy = (
            f"accuracy of {count_of(len(entry.accuracy), 'range')} from {entry.accuracy_source}"
        )
        yield (
            f"  {accuracy if entry.accuracy else 'no accuracy on file'}; entered by "
            f"{entry.entered_by} on {one.at:%Y-%m-%d}, serial number from {entry.read_from}"
        )


def format_touched(touched: Sequence[TouchedUnit]) -> Iterator[str]:
    """Yield lines for a person."""
    if not touched:
        yield "no unit was measured"
        return
    for one in touched:
        certificates = ", ".join(name or "none on file" for name in one.certificates)
        yield (
            f"{one.serial}  {one.state}  {one.first_at:%Y-%m-%d %H:%M} to "
            f"{one.last_at:%Y-%m-%d %H:%M}  {one.calibration_readings} + "
            f"{one.verification_readings} + {one.recheck_readings} readings by {one.instrument} "
            f"({certificates})"
        )
    units = len({one.serial for one in touched})
    instruments = len({one.instrument for one in touched})
    yield f"{count_of(units, 'unit')}, by {count_of(instruments, 'instrument')}"
