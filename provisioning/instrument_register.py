"""The register of instruments: certificates, due dates and accuracy, as events of the ledger.

An entry is a CONFIRM of step `instrument` in the chain of the station where somebody entered it
(docs/spec/ledger-and-record-export.md §3.3). So it is chained, audited, backed up and seen by every
station like anything else, and there is no second copy that could say something else. An entry is
never changed: of several for one serial number the one with the latest calibration counts.
Implements docs/spec/calibration.md §3.6. This module reads and writes the ledger.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import select

from provisioning.errors import InstrumentRegisterError
from provisioning.instrument_description import Accuracy
from provisioning.ledger_event_rows import read_row
from provisioning.ledger_events import Phase
from provisioning.ledger_journal import append_event
from provisioning.ledger_schema import INSTRUMENT_STEP, IS_METROLOGY, events
from provisioning.meter_accuracy import InstrumentCalibration
from signing.durable_file import save_durably
from signing.input_file import is_present, read_input
from signing.validation_words import describe_problem, first_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent, Event
    from provisioning.ledger_values import Writer
    from provisioning.station_settings import StationSettings

COPY_NAME: Final = "instruments.json"
_COPY_MAX_BYTES: Final = 256 << 10
_DAYS_MAX: Final = 3660

_Text = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class InstrumentEntry(BaseModel):
    """One calibration of one instrument.

    Attributes:
        format: 1.
        serial_number: As `*IDN?` tells it; what readings are traced by.
        maker: Who made it.
        model: Its model.
        certificate: Number of the calibration certificate.
        calibrated: Day of the calibration.
        due: Last day on which it may be relied on.
        accuracy: Specification by range for that time; empty: not entered.
        accuracy_source: Where it was read.
        read_from: `*IDN?` of the instrument itself, or `hand`.
        entered_by: Who entered it.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)] = 1
    serial_number: Annotated[str, Field(max_length=64, pattern=r"^[!-~]([ -~]*[!-~])?$")]
    maker: _Text
    model: _Text
    certificate: _Text
    calibrated: dt.date
    due: dt.date
    accuracy: tuple[Accuracy, ...] = ()
    accuracy_source: Annotated[str, Field(max_length=400)] = ""
    read_from: Annotated[str, Field(pattern=r"^(\*IDN\?|hand)$")]
    entered_by: _Text

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 < (self.due - self.calibrated).days <= _DAYS_MAX:
            raise ValueError(
                f"due {self.due} is not 1 to {_DAYS_MAX} days after the calibration of "
                f"{self.calibrated}"
            )
        if bool(self.accuracy) != bool(self.accuracy_source):
            raise ValueError("accuracy and accuracy_source: give both or neither")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredInstrument:
    """An entry and where it stands in the ledger.

    Attributes:
        entry: What was entered.
        station: In whose chain.
        number: Its place there.
        at: When.
    """

    entry: InstrumentEntry
    station: str
    number: int
    at: dt.datetime

    def days_left(self, today: dt.date) -> int:
        """Return for how many days it may be relied on after today; negative when overdue."""
        return (self.entry.due - today).days


def parse_entry(event: Event) -> InstrumentEntry:
    """Return what an event of step `instrument` enters.

    Raises:
        InstrumentRegisterError: It is not an entry.
    """
    return _validate(
        json.dumps(dict(event.data)), where=f"station {event.station}, event {event.number}"
    )


def build_entry(**fields: object) -> InstrumentEntry:
    """Return an entry that somebody makes.

    Raises:
        InstrumentRegisterError: A field is not possible.
    """
    try:
        return InstrumentEntry(**fields)  # type: ignore[arg-type] # pydantic judges them
    except ValidationError as error:
        raise _not_one(error, "what was entered") from error


def add_instrument(ledger: Ledger, writer: Writer, entry: InstrumentEntry) -> ChainedEvent:
    """Enter a calibration.

    Raises:
        InstrumentRegisterError: It lies in the future, or the certificate is there already.
        LedgerError: The ledger cannot be written.
    """
    if entry.calibrated > writer.now().date():
        raise InstrumentRegisterError(
            "the calibration is in the future",
            expected=f"{writer.now().date()} or earlier",
            got=entry.calibrated,
            where=f"{entry.serial_number}, certificate {entry.certificate}",
            hint="--calibrated is the day on the certificate; check this machine's clock, too",
        )
    with ledger.database.writing() as connection:
        # Asked under the write lock: whoever enters the same certificate at this moment is refused.
        for known in _read_entries(connection):
            same = (known.entry.serial_number, known.entry.certificate)
            if same == (entry.serial_number, entry.certificate):
                raise InstrumentRegisterError(
                    "this certificate is in the register already",
                    expected="a certificate that is entered once",
                    got=f"due {known.entry.due}, entered by {known.entry.entered_by} at "
                    f"{known.at:%Y-%m-%d}",
                    where=f"{entry.serial_number}, certificate {entry.certificate}",
                    hint="an entry is never changed; enter the next certificate with its own "
                    "number",
                )
        return append_event(
            connection, writer, epoch=ledger.identity.epoch, step=INSTRUMENT_STEP,
            phase=Phase.CONFIRM, data=entry.model_dump(mode="json"), mac=None, reservation=None,
            at=writer.now(),
        )  # fmt: skip


def read_register(ledger: Ledger) -> tuple[RegisteredInstrument, ...]:
    """Return all entries, by station and in the order in which they were made.

    Raises:
        InstrumentRegisterError: An entry is damaged.
        LedgerError: The ledger cannot be read.
    """
    with ledger.database.reading() as connection:
        return _read_entries(connection)


def _read_entries(connection: Connection) -> tuple[RegisteredInstrument, ...]:
    statement = select(events).where(IS_METROLOGY).order_by(events.c.station, events.c.number)
    found = []
    for row in connection.execute(statement):
        event = read_row(row)
        if event.step == INSTRUMENT_STEP and event.phase is Phase.CONFIRM:
            found.append(
                RegisteredInstrument(
                    entry=parse_entry(event),
                    station=event.station,
                    number=event.number,
                    at=event.at,
                )
            )
    return tuple(found)


def current_entries(
    entries: Iterable[RegisteredInstrument],
) -> dict[str, RegisteredInstrument]:
    """Return for each serial number the entry that counts: that of the latest calibration."""
    current: dict[str, RegisteredInstrument] = {}
    for one in sorted(entries, key=lambda one: (one.entry.calibrated, one.at)):
        current[one.entry.serial_number] = one
    return dict(sorted(current.items()))


def apply_register(
    settings: StationSettings, entries: Sequence[RegisteredInstrument]
) -> StationSettings:
    """Return settings that name the certificates of the register, for results to carry along.

    Raises:
        InstrumentRegisterError: Section [station.metrology] names some of its own.
    """
    if settings.metrology.instruments:
        raise InstrumentRegisterError(
            "certificates of instruments are in the ledger's register, not in the configuration",
            expected="no [[station.metrology.instruments]]",
            got=", ".join(one.serial_number for one in settings.metrology.instruments),
            where="ampforge.toml",
            hint="enter each once with `ampforge instrument add --serial-number …`, then take the "
            "section out",
        )
    certificates = tuple(
        InstrumentCalibration(
            serial_number=serial_number,
            certificate=one.entry.certificate,
            due=one.entry.due,
            calibrated=one.entry.calibrated,
        )
        for serial_number, one in current_entries(entries).items()
    )
    metrology = settings.metrology.model_copy(update={"instruments": certificates})
    return settings.model_copy(update={"metrology": metrology})


def save_copy(folder: Path, entries: Sequence[RegisteredInstrument]) -> None:
    """Keep the register for a time without the ledger.

    Raises:
        DurableFileError: The folder cannot be written.
    """
    document = [
        {
            "station": one.station,
            "number": one.number,
            "at": one.at.isoformat(),
            "entry": one.entry.model_dump(mode="json"),
        }
        for one in entries
    ]
    content = f"{json.dumps(document, indent=1, sort_keys=True)}\n".encode()
    path = folder / COPY_NAME
    if not is_present(path) or read_input(path, len(content)) != content:
        save_durably(path, content)


def load_copy(folder: Path) -> tuple[RegisteredInstrument, ...]:
    """Return the register as it was when the ledger was last there; empty if it never was.

    Raises:
        InstrumentRegisterError: The copy is damaged.
    """
    path = folder / COPY_NAME
    if not is_present(path):
        return ()
    try:
        untrusted_bytes = read_input(path, _COPY_MAX_BYTES)
    except OSError as error:
        raise _damaged_copy(path, error.strerror) from error
    return parse_copy(untrusted_bytes, where=str(path))


def parse_copy(untrusted_bytes: bytes, *, where: str) -> tuple[RegisteredInstrument, ...]:
    """Parse a copy of the register.

    Raises:
        InstrumentRegisterError: It is none.
    """
    if len(untrusted_bytes) > _COPY_MAX_BYTES:
        raise _damaged_copy(where, f"{len(untrusted_bytes)} bytes, more than {_COPY_MAX_BYTES}")
    try:
        return tuple(
            RegisteredInstrument(
                entry=_validate(json.dumps(one["entry"]), where=where),
                station=str(one["station"]),
                number=int(one["number"]),
                at=_aware(one["at"]),
            )
            for one in json.loads(untrusted_bytes)
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _damaged_copy(where, f"{type(error).__name__}: {error}"[:200]) from error


def _aware(text: object) -> dt.datetime:
    moment = dt.datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _validate(text: str, *, where: str) -> InstrumentEntry:
    try:
        return InstrumentEntry.model_validate_json(text)
    except ValidationError as error:
        raise _not_one(error, where) from error


def _not_one(error: ValidationError, where: str) -> InstrumentRegisterError:
    first = first_problem(error)
    words = describe_problem(first, InstrumentEntry)
    name = ".".join(str(part) for part in first["loc"])
    return InstrumentRegisterError(
        "this is not an entry of the register of instruments",
        got=f"{name} {words}" if name else words,
        where=where,
        hint="docs/how-to/add-an-instrument.md says what an entry needs",
    )


def _damaged_copy(where: object, got: object) -> InstrumentRegisterError:
    return InstrumentRegisterError(
        "the station's copy of the register of instruments is damaged",
        got=got,
        where=where,
        hint="start the station once with the ledger: it makes the copy again",
    )
