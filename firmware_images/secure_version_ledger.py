"""The secure-version ledger: which signatures raised a counter that boards never turn back.

Implements docs/spec/secure-version.md §3 and §4. One file for each hardware class. A line is on the
disk before the signature that it is about exists, so no signature that raises the counter can leave
unrecorded; a line whose signature was never made is possible, and counts. The same thing signed
again, by the next engineer or after a crash, needs no new line.

The file is replaced as a whole in one step: a power cut leaves it with or without the new line,
never with half of one. Nothing here signs, and no board's eFuses are read.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.errors import SecureVersionError
from firmware_images.secure_version import find_budget
from firmware_images.secure_version_entry import (
    HINT,
    Act,
    LedgerEntry,
    is_line_text,
    serialize_entry,
)
from firmware_images.secure_version_history import (
    LEDGER_MAX_BYTES,
    SecureVersionHistory,
    verify_ledger,
)
from signing.durable_file import save_durably
from signing.errors import ChainError, DurableFileError
from signing.input_file import is_present, read_input
from signing.sign_log import EMPTY, LINE_TIME_FORMAT, TEXT_MAX_CHARACTERS, Head, clip_text
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What is about to be signed.

    Attributes:
        act: An image for the boot ROM, or a release.
        digest: SHA-256 of what is signed.
        secure_version: That of its app.
        app_version: The app's version, if it states one.
        where: Its file, for messages.
    """

    act: Act
    digest: bytes
    secure_version: int
    app_version: str | None
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureVersionLedger:
    """Where the signatures for one class of boards are recorded.

    Attributes:
        path: The file; it need not exist.
        hardware_class: The boards.
        chip: esptool's name of their chip.
        who: Account and machine.
        tool: Name and version of the program.
        clock: Gives the time, aware.
        bits: What the product uses of the chip's field; `None` for all of it.
    """

    path: Path
    hardware_class: str
    chip: str
    who: str
    tool: str
    clock: Callable[[], datetime]
    bits: int | None = None

    def load(self, *, heads: tuple[Head, ...] = ()) -> SecureVersionHistory:
        """Load and verify the ledger; where there is none, nothing was recorded yet.

        Args:
            heads: Heads that it is known to have had.

        Raises:
            ChainError: It was changed, is another class's, or cannot be read.
            SecureVersionError: The chip is not known.
        """
        content = self._read() if is_present(self.path) else b""
        history = verify_ledger(
            content, hardware_class=self.hardware_class, chip=self.chip, where=str(self.path)
        )
        on_chain = {EMPTY, *(entry.head for entry in history.entries)}
        for head in heads:
            if head not in on_chain:
                raise ChainError(
                    "the secure-version ledger is not the one that this head was taken from",
                    expected=head,
                    got=history.head,
                    where=self.path,
                    hint=f"lines were removed, or it was written anew; {HINT}",
                )
        return self._with_todays_budget(history)

    def admit(self, signing: Signing, *, reason: str | None) -> SecureVersionHistory:
        """Judge what is about to be signed, and record it; on the disk when this returns.

        Args:
            signing: What is about to be signed.
            reason: Why an eFuse bit may be spent, or `None`.

        Raises:
            SecureVersionError: It may not be signed; nothing was recorded.
            ChainError: The ledger is damaged.
            DurableFileError: The ledger cannot be written.
        """
        if reason is not None:
            refuse_reason(reason)
        with self._locked():
            history = self.load()
            if history.holds(signing.digest, signing.secure_version):
                # Recorded, so paid for; but what was revoked since must not be signed again.
                history.budget.judge(signing.secure_version, where=signing.where)
                return history
            history.budget.judge_spending(
                signing.secure_version, reason=reason, where=signing.where
            )
            return self._append(
                history,
                act=signing.act,
                app_version=signing.app_version,
                digest=signing.digest.hex(),
                secure_version=signing.secure_version,
                reason=reason,
            )

    def adopt(self, secure_version: int, *, reason: str) -> SecureVersionHistory:
        """Begin the ledger of boards that were already made, with what their eFuses hold.

        Raises:
            SecureVersionError: The ledger has begun, or the chip cannot hold that.
            ChainError: The ledger is damaged.
            DurableFileError: The ledger cannot be written.
        """
        refuse_reason(reason)
        with self._locked():
            history = self.load()
            if history.entries:
                raise SecureVersionError(
                    "the secure-version ledger has begun already",
                    expected="no line yet",
                    got=f"{len(history.entries)} lines, {history.budget}",
                    where=self.path,
                    hint="it goes on from there: sign the next release",
                )
            if not 0 <= secure_version <= history.budget.bits:
                raise SecureVersionError(
                    f"the eFuses of an {self.chip} cannot hold this secure_version",
                    expected=f"0 to {history.budget.bits}",
                    got=secure_version,
                    where=self.path,
                    hint="read it from a board: `espefuse summary`, SECURE_VERSION, bits that "
                    "are set",
                )
            return self._append(
                history,
                act=Act.ADOPT,
                app_version=None,
                digest=None,
                secure_version=secure_version,
                reason=reason,
            )

    def _append(
        self,
        history: SecureVersionHistory,
        *,
        act: Act,
        app_version: str | None,
        digest: str | None,
        secure_version: int,
        reason: str | None,
    ) -> SecureVersionHistory:
        entry = LedgerEntry(
            sequence=len(history.entries) + 1,
            time=self.clock().strftime(LINE_TIME_FORMAT),
            who=clip_text(self.who),
            tool=clip_text(self.tool),
            hardware_class=self.hardware_class,
            chip=self.chip,
            act=str(act),
            app_version=app_version,
            digest=digest,
            secure_version=secure_version,
            reason=reason,
            previous=history.head.hash.hex(),
        )
        entries = (*history.entries, entry)
        content = b"".join(map(serialize_entry, entries))
        # What is read back next time must be readable: a line that is not would lock everybody out.
        checked = verify_ledger(
            content, hardware_class=self.hardware_class, chip=self.chip, where=str(self.path)
        )
        save_durably(self.path, content)
        return self._with_todays_budget(checked)

    def _with_todays_budget(self, history: SecureVersionHistory) -> SecureVersionHistory:
        # The lines were admitted by the budget of their day; what comes next, by today's.
        highest = history.budget.highest
        return replace(history, budget=find_budget(self.chip, highest=highest, bits=self.bits))

    def _read(self) -> bytes:
        try:
            return read_input(self.path, LEDGER_MAX_BYTES)
        except OSError as error:
            raise ChainError(
                "the secure-version ledger cannot be read",
                got=error.strerror,
                where=self.path,
                hint="check its permissions; without it nobody knows what boards have burned",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The folder, because the file itself is replaced.
        try:
            descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DurableFileError(
                "the secure-version ledger cannot be written; nothing was signed",
                got=error.strerror,
                where=self.path,
                hint="check that the folder exists and can be read",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def ledger_name(hardware_class: str) -> str:
    """Return the file name of a hardware class's ledger."""
    return f"secure-version-{hardware_class}.jsonl".replace(" ", "_")


def refuse_reason(reason: str) -> None:
    """Refuse a reason that nobody could read later.

    Raises:
        SecureVersionError: It is empty, too long, or not printable.
    """
    if not is_line_text(reason):
        raise SecureVersionError(
            "this reason cannot be recorded",
            expected=f"1 to {TEXT_MAX_CHARACTERS} printable characters",
            got=ascii(reason[:80]),
            hint="say in one line which releases must not run any more, and why",
        )
