"""What a supervisor signs: a way out of quarantine, rework, a replaced module, a lost number.

The payload is deterministic CBOR, a map of integer keys (docs/spec/provisioning.md §5):

    key  type   meaning
     1   int    format, 1
     2   text   UUID of the ledger
     3   text   act: `release`, `rework`, `rebind` or `adopt`
     4   bytes  MAC of the board, 6
     5   bytes  MAC of the board that takes its place, 6; empty but for `rebind`
     6   bytes  hash of the event that the act answers, 32
     7   text   reason, 1 to 400 characters
     8   text   time, UTC
     9   text   `adopt` alone: serial number that the board proved
    10   bytes  `adopt` alone: SHA-256 of what it proved it by (`board_evidence`), 32

The hash in key 6 names one state of one unit: what was signed for it counts once, and never for
what happens later. Signed as COSE_Sign by the role `supervisor` of the trust record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from provisioning.errors import SupervisionError
from provisioning.ledger_events import format_time, parse_time
from provisioning.serial_formats import GS1_SERIAL_MAX_LENGTH
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many
from signing.errors import CborError
from signing.roles import Role

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from signing.signers import Signer
    from signing.trust import TrustRecord

FORMAT: Final = 1
SUPERVISED_ACT_CONTENT_TYPE: Final = "application/vnd.ampforge.supervised-act+cbor"
REASON_CHARACTERS_MAX: Final = 400
_PAYLOAD_BYTES_MAX: Final = 2048
_MAC_BYTES: Final = 6
_HASH_BYTES: Final = 32


class Act(StrEnum):
    """What a supervisor may order."""

    RELEASE = "release"
    """Out of quarantine; a record that does not belong to the board may be erased."""
    REWORK = "rework"
    """To be worked on again, whatever it was judged."""
    REBIND = "rebind"
    """The unit goes on with another module, and the old one never comes back."""
    ADOPT = "adopt"
    """The board has a number of this factory that the ledger lost, and gets it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedAct:
    """One order.

    Attributes:
        ledger_uuid: The ledger that it is for.
        act: What is ordered.
        mac: The board, 6 bytes.
        new_mac: The board that takes its place, 6 bytes; empty but for a rebind.
        answers: Hash of the event as it stood when this was signed, 32 bytes.
        reason: Why, for whoever reads the record.
        at: When, aware.
        serial: For an adoption the serial number that the board proved; else empty.
        evidence: For an adoption the SHA-256 of what it proved it by, 32 bytes; else empty.
    """

    ledger_uuid: str
    act: Act
    mac: bytes
    new_mac: bytes
    answers: bytes
    reason: str
    at: dt.datetime
    serial: str = ""
    evidence: bytes = b""


def require_reason(reason: str) -> None:
    """Refuse an order without a reason that can be written down.

    Raises:
        SupervisionError: It is missing, too long, or not printable.
    """
    if not (0 < len(reason) <= REASON_CHARACTERS_MAX and reason.isprintable()):
        raise SupervisionError(
            "an order needs a reason",
            expected=f"1 to {REASON_CHARACTERS_MAX} printable characters",
            got=f"{len(reason)} characters",
            hint="say with --reason why this unit is an exception",
        )


def serialize_act(act: SupervisedAct) -> bytes:
    """Return the payload.

    Raises:
        SupervisionError: The reason is missing, too long, or not printable.
    """
    require_reason(act.reason)
    fields: dict[int, object] = {
        1: FORMAT,
        2: act.ledger_uuid,
        3: act.act.value,
        4: act.mac,
        5: act.new_mac,
        6: act.answers,
        7: act.reason,
        8: format_time(act.at),
    }
    if act.act is Act.ADOPT:
        fields |= {9: act.serial, 10: act.evidence}
    return serialize_cbor(fields)


def parse_act(untrusted_bytes: bytes) -> SupervisedAct:
    """Return what a payload orders.

    Raises:
        SupervisionError: It is not such a payload.
    """
    try:
        document = parse_cbor(untrusted_bytes, max_bytes=_PAYLOAD_BYTES_MAX, max_depth=1)
    except CborError as error:
        raise _damaged(error) from error
    match document:
        case {
            1: 1,
            2: str(ledger_uuid),
            3: ("release" | "rework" | "rebind" | "adopt") as act,
            4: bytes(mac),
            5: bytes(new_mac),
            6: bytes(answers),
            7: str(reason),
            8: str(at),
            **rest,
        } if (
            (adopted := _parse_adopted(rest, is_adoption=act == Act.ADOPT.value)) is not None
            and len(mac) == _MAC_BYTES
            and len(new_mac) == (_MAC_BYTES if act == Act.REBIND.value else 0)
            and len(answers) == _HASH_BYTES
        ):
            parsed = SupervisedAct(
                ledger_uuid=ledger_uuid,
                act=Act(act),
                mac=mac,
                new_mac=new_mac,
                answers=answers,
                reason=reason,
                at=parse_time(at),
                serial=adopted[0],
                evidence=adopted[1],
            )
            if serialize_act(parsed) == untrusted_bytes:
                return parsed
    raise _damaged("another shape")


def _parse_adopted(rest: dict[object, object], *, is_adoption: bool) -> tuple[str, bytes] | None:
    """Return what an adoption says beyond other orders; `None` when it is not as it must be."""
    match rest:
        case {9: str(serial), 10: bytes(evidence), **more} if is_adoption and not more:
            is_whole = 0 < len(serial) <= GS1_SERIAL_MAX_LENGTH and len(evidence) == _HASH_BYTES
            return (serial, evidence) if is_whole else None
        case _:
            return None if is_adoption or rest else ("", b"")


def sign_act(act: SupervisedAct, signers: Sequence[Signer]) -> bytes:
    """Sign an order with keys of the supervisor role."""
    return sign_many(serialize_act(act), signers, content_type=SUPERVISED_ACT_CONTENT_TYPE)


def verify_act(untrusted_bytes: bytes, trust: TrustRecord, *, ledger_uuid: str) -> SupervisedAct:
    """Return an order after its signatures were verified.

    Args:
        untrusted_bytes: The signed order.
        trust: Names the supervisors' keys.
        ledger_uuid: The ledger that it must be for.

    Raises:
        SigningError: The supervisor role's threshold is not met.
        SupervisionError: It is not an order, or one for another ledger.
    """
    act = parse_act(
        trust.verify(untrusted_bytes, Role.SUPERVISOR, content_type=SUPERVISED_ACT_CONTENT_TYPE)
    )
    if act.ledger_uuid != ledger_uuid:
        raise SupervisionError(
            "the order is for another ledger", expected=ledger_uuid, got=act.ledger_uuid
        )
    return act


def _damaged(got: object) -> SupervisionError:
    return SupervisionError("this is not a supervisor's order", expected="its keys", got=got)
