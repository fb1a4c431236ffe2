"""Which ledger this is, as its one row and its first event say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioning.errors import LedgerError
from provisioning.ledger_columns import LEDGER_IDENTITY
from provisioning.ledger_events import parse_time
from provisioning.ledger_formats import read_format
from provisioning.ledger_questions import select_all
from provisioning.ledger_rows import check_row, only_row
from provisioning.ledger_values import LedgerIdentity

if TYPE_CHECKING:
    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_questions import Questions

_IDENTITY: Final = select_all(LEDGER_IDENTITY, "")


def read_identity(questions: Questions, *, where: LedgerAddress) -> LedgerIdentity:
    """Return which ledger this is.

    Args:
        questions: Asked of it.
        where: What to name in an error.

    Raises:
        LedgerError: It does not say so, or a value is damaged.
    """
    row = only_row(questions.ask(_IDENTITY), LEDGER_IDENTITY, where=str(where))
    if row is None:
        raise LedgerError(
            "the ledger has no identity",
            expected="one row with its UUID",
            where=where,
            hint="this ledger was not made by `ampforge station init`; restore a backup",
        )
    check_row(row, LEDGER_IDENTITY, where=str(where))
    return LedgerIdentity(
        uuid=row.uuid,
        epoch=row.epoch,
        product=row.product,
        created_at=parse_time(row.created_at),
        opening=row.opening,
        serial_format=read_format(questions),
    )
