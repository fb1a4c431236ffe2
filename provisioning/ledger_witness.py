"""What a station remembers of the ledger, outside the ledger: so that it notices when it went back.

A database that is copied back from yesterday looks whole: its chains end earlier, and the numbers
of today would be given again. The station's folder therefore keeps the epoch, its opening, and the
head of the station's own chain. A ledger that has forgotten one of these is refused;
`ampforge ledger restore` opens a later epoch, and that one is accepted. So is a ledger into which
the station never wrote; one into which it did, without a memory of it, is refused.

The memory may be older than the ledger (after a kill), never younger. A station that ended in good
order leaves it closed: from then on its chain must not grow but by its own hand, and whoever writes
as the station opens the memory first (`writing_as_station`). It is no secret and proves
nothing to a stranger: whoever can write the folder can write this file.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select

from provisioning.errors import Damage, LedgerDamageError, LedgerError, StationError
from provisioning.ledger_events import parse_event
from provisioning.ledger_formats import FORMAT_STEP
from provisioning.ledger_heads import require_chain
from provisioning.ledger_journal import read_end, read_head
from provisioning.ledger_schema import events
from provisioning.station_lock import StationLock
from signing.durable_file import save_durably
from signing.errors import DurableFileError
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_values import LedgerIdentity

WITNESS_NAME: Final = "ledger-witness.json"
WITNESS_SCHEMA: Final = "ampforge.ledger-witness/1"
_MAX_BYTES: Final = 4096


class Witness(BaseModel):
    """What a station last saw of its ledger.

    Attributes:
        uuid: The ledger.
        epoch: Its epoch.
        opening: Name of the restore that opened the epoch; `None` in the first.
        station: The station.
        count: Events in the station's own chain.
        head: Head of that chain, in hexadecimal.
        is_closed: Whether the chain ends there, until the station itself goes on.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_: Literal["ampforge.ledger-witness/1"] = Field(alias="schema")
    uuid: str
    epoch: int = Field(ge=1)
    opening: str | None
    station: str
    count: int = Field(ge=0)
    head: str = Field(pattern=r"^[0-9a-f]{64}$")
    is_closed: bool = False


def load_witness(folder: Path) -> Witness | None:
    """Return what the station remembers; `None` when it never saw a ledger.

    Raises:
        StationError: The file cannot be read.
    """
    path = folder / WITNESS_NAME
    try:
        content = read_input(path, _MAX_BYTES)
        return Witness.model_validate_json(content)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StationError(
            "what the station remembers of its ledger cannot be read",
            got=error.strerror if isinstance(error, OSError) else "another content",
            where=path,
            hint="put the right one back; without it: `ampforge ledger backup`, move this file and "
            "the ledger away, `ampforge ledger restore`, which opens a new epoch",
        ) from error


def save_witness(folder: Path, ledger: Ledger, *, station: str, is_closed: bool = False) -> Witness:
    """Remember the ledger as it is now, and return what was remembered.

    Args:
        folder: The station's folder.
        ledger: The open ledger.
        station: Whose chain is the station's.
        is_closed: Whether nobody writes as this station from now on.

    Raises:
        LedgerError: The ledger cannot be read.
        DurableFileError: The folder cannot be written.
    """
    with ledger.database.reading() as connection:
        count, head = read_head(connection, station)
    identity = ledger.identity
    witness = Witness.model_validate(
        {
            "schema": WITNESS_SCHEMA,
            "uuid": identity.uuid,
            "epoch": identity.epoch,
            "opening": identity.opening,
            "station": station,
            "count": count,
            "head": head.hex(),
            "is_closed": is_closed,
        }
    )
    if load_witness(folder) != witness:
        content = witness.model_dump_json(by_alias=True, indent=1) + "\n"
        save_durably(folder / WITNESS_NAME, content.encode())
    return witness


def require_witnessed(folder: Path, ledger: Ledger, *, station: str) -> None:
    """Refuse a ledger that has forgotten what this station saw of it.

    Args:
        folder: The station's folder.
        ledger: The open ledger.
        station: Whose chain is the station's.

    Raises:
        LedgerError: It is another ledger, of an earlier epoch, or lacks events of this station.
        StationError: The memory cannot be read, or is gone.
    """
    witness = load_witness(folder)
    if witness is None:
        _require_newcomer(folder, ledger, station=station)
    while witness is not None:
        try:
            with ledger.database.reading() as connection:
                compare_witness(
                    connection, ledger.identity, witness, where=str(ledger.database.address)
                )
        except LedgerError:
            before, witness = witness, load_witness(folder)
            if witness == before:
                raise
        else:
            return


def _require_newcomer(folder: Path, ledger: Ledger, *, station: str) -> None:
    """Refuse a station without a memory that wrote into the ledger: its ledger may be older.

    Raises:
        StationError: It did.
    """
    wrote = (
        select(events.c.number, events.c.content)
        .where(events.c.station == station, events.c.step != FORMAT_STEP)
        .order_by(events.c.number.desc())
        .limit(1)
    )
    with ledger.database.reading() as connection:
        last = connection.execute(wrote).one_or_none()
    if last is None:
        return
    where = f"station {station}, event {last.number}"
    if parse_event(last.content, where=where).epoch < ledger.identity.epoch:
        return  # what it gave was of an earlier epoch, and cannot be given again
    if load_witness(folder) is not None:
        return  # another command of the station was faster
    # `writing_as_station` and `open_station_ledger` save it before the first event.
    raise StationError(
        "what the station remembers of its ledger is gone",
        expected=f"{WITNESS_NAME}, which it has since its first event",
        got=f"no such file, and {last.number + 1} events of {station} in the ledger",
        where=folder,
        hint="put it back if it is anywhere. If not, nobody can tell whether this ledger is an "
        "older copy: `ampforge ledger backup`, move the ledger away, and `ampforge ledger restore "
        "--first-epoch N` with N above every epoch that anybody remembers: no number is given "
        "twice",
    )


@contextmanager
def writing_as_station(folder: Path, ledger: Ledger, *, station: str) -> Iterator[None]:
    """Compare the ledger with the station's memory, and bring that up to date behind a change.

    For commands that write a word as the station, beside the station that may be at work: the
    memory is closed behind them only if it is not.

    Raises:
        LedgerError: The ledger has forgotten what the station saw of it, or cannot be read.
        StationError: The memory cannot be read.
        DurableFileError: The folder cannot be written.
    """
    require_witnessed(folder, ledger, station=station)
    save_witness(folder, ledger, station=station)
    try:
        yield
    except BaseException:
        with suppress(LedgerError, StationError, DurableFileError):
            _save_behind(folder, ledger, station=station)
        raise
    _save_behind(folder, ledger, station=station)


def _save_behind(folder: Path, ledger: Ledger, *, station: str) -> None:
    try:
        lock = StationLock(folder)
    except StationError:  # the station is at work, and closes it itself
        save_witness(folder, ledger, station=station)
        return
    try:
        save_witness(folder, ledger, station=station, is_closed=True)
    finally:
        lock.release()


def compare_witness(
    connection: Connection, identity: LedgerIdentity, witness: Witness, *, where: str
) -> None:
    """Refuse a ledger that has forgotten what a station saw of it.

    Args:
        connection: Inside a transaction that began after the memory was read: a station that
            works meanwhile remembers more than an earlier state of the ledger has.
        identity: What the ledger says it is.
        witness: What the station remembers.
        where: The ledger's address, for messages.

    Raises:
        LedgerDamageError: It lacks events of the station, or has others in their place.
        LedgerError: It is another ledger, or of an earlier epoch.
    """
    if witness.uuid != identity.uuid:
        raise _refused(
            "this is another ledger than the station worked with",
            expected=witness.uuid, got=identity.uuid, where=where,
            hint="name the right ledger; a station never changes to another one",
        )  # fmt: skip
    same_epoch = (witness.epoch, witness.opening) == (identity.epoch, identity.opening)
    if not same_epoch and identity.epoch <= witness.epoch:
        raise _refused(
            "the ledger is older than one that this station worked with",
            expected=f"epoch {witness.epoch}, opened by {witness.opening or 'station init'}",
            got=f"epoch {identity.epoch}, opened by {identity.opening or 'station init'}",
            where=where,
            hint=f"restore again with `ampforge ledger restore --first-epoch {witness.epoch + 1}`, "
            "or the same numbers are given twice",
        )
    if same_epoch:
        _require_event(connection, witness)


def _require_event(connection: Connection, witness: Witness) -> None:
    try:
        require_chain(
            connection, witness.station, witness.count, bytes.fromhex(witness.head),
            teller="what this station remembers",
        )  # fmt: skip
        end = read_end(connection, witness.station)
    except LedgerDamageError as error:
        raise LedgerDamageError(
            "the ledger has forgotten events of this station",
            damage=error.damage,
            station=error.station,
            number=error.number,
            at=error.at,
            expected=error.expected,
            got=error.got,
            hint="an older copy was put back: take it away, and restore a backup with "
            "`ampforge ledger restore`, which voids what may have been given since",
        ) from error
    if witness.is_closed and end.count > witness.count:
        raise LedgerDamageError(
            "the chain of this station has events that the station did not write",
            damage=Damage.FORGED,
            station=witness.station,
            number=witness.count,
            expected=f"{witness.count} events, as this station left them",
            got=f"{end.count} events",
            hint="find out who wrote them (`ampforge unit history`), and whether another copy of "
            "this station's folder is at work; then `ampforge ledger backup` and `ampforge ledger "
            "restore`, which opens a new epoch",
        )


def _refused(what: str, *, expected: str, got: str, where: str, hint: str) -> LedgerError:
    return LedgerError(what, expected=expected, got=got, where=where, hint=hint)
