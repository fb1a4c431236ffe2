"""Which instruments a station may use: those with a certificate that is not overdue.

Where the register (`provisioning.instrument_register`) is empty, only the simulated instrument is
accepted, and every result says that no certificate was on file. This module talks to no instrument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import InstrumentError

if TYPE_CHECKING:
    from datetime import date

    from provisioning.instruments import InstrumentIdentity
    from provisioning.measurement_settings import MetrologySettings


def refuse_uncertified(
    identity: InstrumentIdentity, settings: MetrologySettings, *, today: date
) -> str | None:
    """Return the certificate of an instrument.

    Args:
        identity: As the instrument told it.
        settings: Certificates on file.
        today: The day of the measurement, UTC.

    Returns:
        The certificate's number; `None` for a simulated instrument where none is kept.

    Raises:
        InstrumentError: This instrument has none that is valid.
    """
    if not settings.instruments and identity.is_simulated:
        return None
    for entry in settings.instruments:
        if entry.serial_number == identity.serial_number:
            if today <= entry.due:
                return entry.certificate
            raise InstrumentError(
                "the instrument's calibration is overdue",
                expected=f"due {entry.due} or later than {today}",
                got=f"due {entry.due}, today is {today}",
                where=f"{identity}, certificate {entry.certificate}",
                hint="have it calibrated, then `ampforge instrument add`",
            )
    raise InstrumentError(
        "the instrument has no calibration certificate on file",
        expected=", ".join(entry.serial_number for entry in settings.instruments)
        or "an entry of the register",
        got=identity.serial_number,
        where=str(identity),
        hint="enter its certificate with `ampforge instrument add`, or use a listed one",
    )


def age_of_certificate(
    identity: InstrumentIdentity, settings: MetrologySettings, *, today: date
) -> int | None:
    """Return how many days ago an instrument was calibrated.

    Args:
        identity: As the instrument told it.
        settings: Certificates on file, and how long the accuracy holds.
        today: The day of the measurement, UTC.

    Returns:
        `None` when the certificate on file does not say, or none is: then the instrument is as
        old as its specification allows.

    Raises:
        InstrumentError: It was calibrated after today, or so long ago that its specification says
            nothing.
    """
    dates = {entry.serial_number: entry.calibrated for entry in settings.instruments}
    calibrated = dates.get(identity.serial_number)
    if calibrated is None:
        return None
    age_days = (today - calibrated).days
    if not 0 <= age_days <= settings.accuracy_days:
        raise InstrumentError(
            "the accuracy table says nothing about an instrument of this age",
            expected=f"calibrated within the last {settings.accuracy_days} days",
            got=f"calibrated {calibrated}, today is {today}",
            where=str(identity),
            hint="have it calibrated, correct the date, or enter the accuracy for a longer time",
        )
    return age_days
