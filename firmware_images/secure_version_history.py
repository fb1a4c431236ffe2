"""A verified secure-version ledger: its lines, and what they leave of the budget.

Implements docs/spec/secure-version.md §3.2. Bytes in, a value or a refusal out; the file is
`secure_version_ledger`'s.
"""

from __future__ import annotations

import io
from typing import Final

from firmware_images.errors import SecureVersionError
from firmware_images.secure_version import SecureVersionBudget, find_budget
from firmware_images.secure_version_entry import HINT, Act, LedgerEntry, parse_entry
from signing.errors import ChainError
from signing.sign_log import EMPTY, Head
from signing.value_class import dataclass

LEDGER_MAX_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureVersionHistory:
    """A verified ledger.

    Attributes:
        budget: What the boards have left.
        entries: Its lines.
    """

    budget: SecureVersionBudget
    entries: tuple[LedgerEntry, ...] = ()

    @property
    def head(self) -> Head:
        """Number of lines and hash of the last."""
        return self.entries[-1].head if self.entries else EMPTY

    def holds(self, digest: bytes, secure_version: int) -> bool:
        """Whether signing exactly this is recorded already."""
        sought = (digest.hex(), secure_version)
        return any((entry.digest, entry.secure_version) == sought for entry in self.entries)


def verify_ledger(
    untrusted_bytes: bytes, *, hardware_class: str, chip: str, where: str
) -> SecureVersionHistory:
    """Verify a whole ledger, and return what it says.

    Args:
        untrusted_bytes: The file.
        hardware_class: The boards that it must be of.
        chip: Their chip.
        where: The file's name, for errors.

    Raises:
        ChainError: A line was changed, removed, added or moved, or is of other boards.
        SecureVersionError: The chip is not known.
    """
    is_whole = not untrusted_bytes or untrusted_bytes.endswith(b"\n")
    if not is_whole or len(untrusted_bytes) > LEDGER_MAX_BYTES:
        raise ChainError(
            "the secure-version ledger is not whole",
            expected=f"whole lines, at most {LEDGER_MAX_BYTES} bytes",
            got=f"{len(untrusted_bytes)} bytes",
            where=where,
            hint=HINT,
        )
    budget = find_budget(chip, where=where)
    entries: list[LedgerEntry] = []
    head = EMPTY
    for number, line in enumerate(io.BytesIO(untrusted_bytes), 1):
        place = f"{where}, line {number}"
        entry = parse_entry(line[:-1], where=place)
        if (entry.sequence, entry.previous) != (number, head.hash.hex()):
            raise ChainError(
                "a line of the secure-version ledger does not follow the line before it",
                expected=f"sequence {number} after {head.hash.hex()}",
                got=f"sequence {entry.sequence} after {entry.previous}",
                where=place,
                hint=f"a line was removed, added or moved: {HINT}",
            )
        if (entry.hardware_class, entry.chip) != (hardware_class, chip):
            raise ChainError(
                "the secure-version ledger is of other boards",
                expected=f"{hardware_class} with {chip}",
                got=f"{entry.hardware_class} with {entry.chip}",
                where=place,
                hint="each hardware class has a ledger of its own: name the right one",
            )
        _refuse_impossible(entry, budget, where=place)
        entries.append(entry)
        head = entry.head
        budget = find_budget(chip, highest=entry.secure_version)
    return SecureVersionHistory(budget=budget, entries=tuple(entries))


def _refuse_impossible(entry: LedgerEntry, budget: SecureVersionBudget, *, where: str) -> None:
    try:
        if entry.act == Act.ADOPT:
            is_possible = (
                entry.sequence == 1
                and entry.secure_version <= budget.bits
                and entry.reason is not None
            )
        else:
            budget.judge_spending(entry.secure_version, reason=entry.reason, where=where)
            is_possible = True
    except SecureVersionError:
        is_possible = False
    if not is_possible:
        raise ChainError(
            "a line of the secure-version ledger is not one that would have been admitted",
            expected=f"{budget}",
            got=f"{entry.act} {entry.secure_version}",
            where=where,
            hint=HINT,
        )
