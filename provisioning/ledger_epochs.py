"""Which sequences an epoch may give, so that no number of a lost ledger is ever given again.

The first character of the sequence is the epoch's: epoch 1 gives 00001 to 0ZZZZ of each week,
epoch 2 gives 10000 to 1ZZZZ, and so on (docs/spec/ledger-and-record-export.md §7). A restored
ledger has a later epoch, so whatever the lost one gave, it gave other numbers. No clock, no count
and no memory of the lost time is needed for that.
"""

from __future__ import annotations

from typing import Final

from provisioning.errors import LedgerError
from provisioning.serial_numbers import SEQUENCE_ALPHABET, SEQUENCE_LENGTH

EPOCH_SPAN: Final[int] = len(SEQUENCE_ALPHABET) ** (SEQUENCE_LENGTH - 1)
EPOCH_MAX: Final = len(SEQUENCE_ALPHABET)


def sequences_of_epoch(epoch: int) -> range:
    """Return the sequences that an epoch may give within one prefix, model and week.

    Raises:
        LedgerError: No sequences are left for such an epoch.
    """
    if not 1 <= epoch <= EPOCH_MAX:
        raise LedgerError(
            "the ledger has no numbers for this epoch",
            expected=f"an epoch from 1 to {EPOCH_MAX}",
            got=epoch,
            hint="a ledger can be restored 31 times; begin a new one with another prefix",
        )
    return range(max(1, (epoch - 1) * EPOCH_SPAN), epoch * EPOCH_SPAN)


def epoch_of_sequence(sequence: int) -> int:
    """Return the only epoch that may give a sequence."""
    return sequence // EPOCH_SPAN + 1
