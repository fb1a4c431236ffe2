"""What a station remembers of its lease's outbox, beside it: so that it notices an older copy.

An outbox that was overwritten in place with an older copy of itself is the same file, and its chain
is whole; the numbers that were given since would be given again. So how far its chain has come is
written here before a station works on a board of it. The memory may be older than the outbox, after
a kill, and is never younger. A folder that went back as a whole takes it along: that is what the
place in the lease is for (docs/spec/lease.md §4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select

from provisioning.errors import LeaseError
from provisioning.ledger_schema import events
from signing.durable_file import save_durably
from signing.input_file import read_input

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.ledger import Ledger

MEMORY_SCHEMA: Final = "ampforge.outbox-memory/1"
_MAX_BYTES: Final = 1024


class OutboxMemory(BaseModel):
    """How far an outbox had come.

    Attributes:
        count: Events in its chain.
        head: Hash of the last of them, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_: Literal["ampforge.outbox-memory/1"] = Field(alias="schema")
    count: int = Field(ge=1)
    head: str = Field(pattern=r"^[0-9a-f]{64}$")


def memory_path(outbox: Path) -> Path:
    """Return where the memory of an outbox lies."""
    return outbox.with_suffix(".memory.json")


def remember_outbox(outbox: Ledger, path: Path) -> None:
    """Write down, durably, how far an outbox has come.

    Args:
        outbox: The open outbox.
        path: Its file.

    Raises:
        LedgerError: It cannot be read.
        DurableFileError: The folder cannot be written.
    """
    with outbox.database.reading() as connection:
        number, head = connection.execute(
            select(events.c.number, events.c.hash).order_by(events.c.number.desc()).limit(1)
        ).one()
    memory = OutboxMemory.model_validate(
        {"schema": MEMORY_SCHEMA, "count": number + 1, "head": head.hex()}
    )
    content = memory.model_dump_json(by_alias=True) + "\n"
    save_durably(memory_path(path), content.encode())


def has_forgotten(outbox: Ledger, path: Path) -> bool:
    """Whether an outbox lacks what the station remembers of it.

    Args:
        outbox: The open outbox.
        path: Its file.

    Raises:
        LeaseError: The memory cannot be read.
        LedgerError: The outbox cannot be read.
    """
    try:
        memory = OutboxMemory.model_validate_json(read_input(memory_path(path), _MAX_BYTES))
    except FileNotFoundError:
        return False  # no number was given yet
    except (OSError, ValidationError) as error:
        raise LeaseError(
            "what the station remembers of its lease's outbox cannot be read",
            got=error.strerror if isinstance(error, OSError) else "another content",
            where=memory_path(path),
            hint="nothing can be given without it: bring the ledger back, then "
            "`ampforge station sync --give-up --reason TEXT`",
        ) from error
    with outbox.database.reading() as connection:
        head: bytes | None = connection.execute(
            select(events.c.hash).where(events.c.number == memory.count - 1)
        ).scalar()
    return head is None or head.hex() != memory.head
