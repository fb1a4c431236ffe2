"""What a drill shows: each claim tried on a real verifier, and whether that did what it must."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from firmware_images.errors import SecureBootError
from manifests.errors import RepositoryError
from signing.errors import CertificateError, CoseError, RollbackError, SignatureError, TrustError
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

_UNSIGNED = "UnsignedMetadataError"


class Moment(StrEnum):
    """Before the key was replaced everywhere, or after it."""

    BEFORE = "before"
    AFTER = "after"


class Verdict(StrEnum):
    """What a verifier does."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    OTHERWISE = "refused for another reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was tried.

    Attributes:
        moment: When.
        what: What was shown.
        verifier: To whom.
        expected: What it must do.
        got: What it did.
        said: Its refusal, if it refused.
    """

    moment: Moment
    what: str
    verifier: str
    expected: Verdict
    got: Verdict
    said: str

    @property
    def is_right(self) -> bool:
        """Whether the verifier did what it must."""
        return self.got is self.expected

    def document(self) -> dict[str, object]:
        """Return the finding for scripts."""
        return {
            "moment": str(self.moment),
            "what": self.what,
            "verifier": self.verifier,
            "expected": str(self.expected),
            "got": str(self.got),
            "right": self.is_right,
            "said": self.said or None,
        }


@dataclass(slots=True)
class Findings:
    """The findings of one drill, in order."""

    found: list[Finding] = field(default_factory=list)

    @property
    def are_right(self) -> bool:
        """Whether every verifier did what it must, and there was something to find."""
        return bool(self.found) and all(finding.is_right for finding in self.found)

    def accepts(self, moment: Moment, what: str, verifier: str, act: Callable[[], object]) -> None:
        """Try something that must be accepted."""
        self._try(moment, what, verifier, Verdict.ACCEPTED, act)

    def refuses(self, moment: Moment, what: str, verifier: str, act: Callable[[], object]) -> None:
        """Try something that must be refused, and because of the key."""
        self._try(moment, what, verifier, Verdict.REFUSED, act)

    def _try(
        self,
        moment: Moment,
        what: str,
        verifier: str,
        expected: Verdict,
        act: Callable[[], object],
    ) -> None:
        got, said = Verdict.ACCEPTED, ""
        try:
            act()
        except Refusal as refusal:
            got = Verdict.REFUSED if _is_about_the_key(refusal) else Verdict.OTHERWISE
            said = f"{type(refusal).__name__}: {refusal}"
        self.found.append(
            Finding(
                moment=moment, what=what, verifier=verifier, expected=expected, got=got, said=said
            )
        )


def _is_about_the_key(refusal: Refusal) -> bool:
    """Whether something was refused for who signed it, not for its age, shape or place."""
    if isinstance(refusal, RepositoryError):
        return (refusal.got or "").startswith(_UNSIGNED)
    about = (TrustError, CertificateError, SignatureError, SecureBootError)
    return isinstance(refusal, about) and not isinstance(refusal, (CoseError, RollbackError))
