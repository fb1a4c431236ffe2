"""Which instruments a station may use: those with a certificate that is not overdue.

Where the register (`provisioning.instrument_register`) is empty, any instrument is accepted, and
every result says that no certificate was on file. This module talks to no instrument.
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
        The certificate's number; `None` when the station keeps no certificates.

    Raises:
        InstrumentError: Certificates are kept and this instrument has none that is valid.
    """
    if not settings.instruments:
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
        expected=", ".join(entry.serial_number for entry in settings.instruments),
        got=identity.serial_number,
        where=str(identity),
        hint="enter its certificate with `ampforge instrument add`, or use a listed one",
    )
