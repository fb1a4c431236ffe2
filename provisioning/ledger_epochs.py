"""Which sequences an epoch may give, so that no number of a lost ledger is ever given again.

The first character of the sequence is the epoch's: epoch 1 gives 00001 to 0ZZZZ of each week,
epoch 2 gives 10000 to 1ZZZZ, and so on (docs/spec/ledger-and-record-export.md §7); with another
format it is as many digits as that has, and the year, or all time, instead of the week. A restored
ledger has a later epoch, so whatever the lost one gave, it gave other numbers. No clock, no count
and no memory of the lost time is needed for that.
"""

from __future__ import annotations

from typing import Final

from provisioning.errors import LedgerError
from provisioning.serial_formats import SEQUENCE_ALPHABET, STANDARD_FORMAT, SerialFormat

EPOCH_MAX: Final = len(SEQUENCE_ALPHABET)


def sequences_of_epoch(epoch: int, serial_format: SerialFormat = STANDARD_FORMAT) -> range:
    """Return the sequences that an epoch may give within one prefix, model and week.

    Args:
        epoch: From 1.
        serial_format: The ledger's.

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
    span = _epoch_span(serial_format)
    return range(max(1, (epoch - 1) * span), epoch * span)


def epoch_of_sequence(sequence: int, serial_format: SerialFormat = STANDARD_FORMAT) -> int:
    """Return the only epoch that may give a sequence."""
    return sequence // _epoch_span(serial_format) + 1


def _epoch_span(serial_format: SerialFormat) -> int:
    return int(EPOCH_MAX ** (serial_format.sequence_length - 1))
