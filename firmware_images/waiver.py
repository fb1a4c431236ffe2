"""A waiver: the policy role's signed word that one named breach of one limit is acceptable.

It is for one table under one policy, one limit, one mode and level, and no worse a value than it
states; it ends by itself. The payload is deterministic CBOR, a map of integer keys:

    key  type         meaning
     1   int          format, 1
     2   bytes        SHA-256 of the whole waveform table, 32
     3   bytes        SHA-256 of the canonical policy, 32
     4   int          policy version
     5   text         hardware class
     6   text         rule id
     7   text         key of the limit in the policy, or CLAIM
     8   text         mode
     9   int or null  level, from 1; null: every level of the mode
    10   text         judged value, decimal, in the unit of the limit
    11   text         the limit that it exceeds, decimal, same unit
    12   text         reason
    13   text         who asked for it
    14   int          issued, s since 1970 UTC
    15   int          the first second at which it no longer counts

Implements docs/spec/policy-and-approval.md §8. What this module does not do: compare it with what
a table does (`waiver_judging`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from firmware_images.errors import WaiverError
from firmware_images.limits_policy import VALUE_DECIMALS_MAX, VALUE_MAX, VERSION_MAX, format_value
from firmware_images.waiver_rules import WAIVABLE, explain_refusal
from firmware_images.waveform import DIGEST_BYTES, LEVEL_COUNT_MAX, is_class_text
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many
from signing.cose_message import parse_message, refuse_content_type
from signing.errors import CborError
from signing.roles import Role
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signing.signers import Signer
    from signing.trust_record import TrustRecord

FORMAT: Final = 1
WAIVER_CONTENT_TYPE: Final = "application/vnd.ampforge.limit-waiver+cbor"
WAIVER_BYTES_MAX: Final = 4096
LIFETIME_MAX: Final = timedelta(days=366)
REASON_CHARACTERS_MAX: Final = 300
NAME_CHARACTERS_MAX: Final = 100

_PAYLOAD_BYTES_MAX: Final = 2048
_SECONDS_MAX: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that a date can say
_STEP: Final = Decimal(1).scaleb(-VALUE_DECIMALS_MAX)
_HINT: Final = "have the policy role issue it again: `ampforge policy waive`"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitWaiver:
    """What the policy role signs.

    Args:
        table_digest: SHA-256 of the whole table.
        policy_digest: SHA-256 of the canonical policy.
        policy_version: That policy's version.
        hardware_class: The boards that the table is for.
        rule: The rule that is broken.
        limit_key: The figure that is exceeded, one of `waiver_rules.WAIVABLE`.
        mode: The mode.
        level: Number of the level from 1, or `None` for every level of the mode.
        value: The worst that is accepted, in the unit of the limit, at most six decimals.
        limit: What it exceeds.
        reason: Why it is acceptable.
        requested_by: Who asked for it.
        issued_at_s: Seconds since 1970, UTC.
        expires_at_s: The first second at which it no longer counts.
    """

    table_digest: bytes
    policy_digest: bytes
    policy_version: int
    hardware_class: str
    rule: str
    limit_key: str
    mode: str
    level: int | None
    value: Decimal
    limit: Decimal
    reason: str
    requested_by: str
    issued_at_s: int
    expires_at_s: int

    def __post_init__(self) -> None:
        if self.limit_key in WAIVABLE and self.rule in {rule for rule, _ in WAIVABLE.values()}:
            if WAIVABLE[self.limit_key][0] != self.rule:
                raise WaiverError(
                    "a waiver names a limit that is not one of its rule",
                    expected=f"a limit of rule {self.rule}",
                    got=f"{self.limit_key}, of rule {WAIVABLE[self.limit_key][0]}",
                    hint=_HINT,
                )
        else:
            raise WaiverError(
                f"rule {self.rule[:40]!r} cannot be waived",
                expected=f"one of {', '.join(WAIVABLE)}",
                got=self.limit_key[:40],
                hint=explain_refusal(self.rule),
            )
        for what, value, is_acceptable in (
            ("digests", "", len(self.table_digest) == len(self.policy_digest) == DIGEST_BYTES),
            ("policy version", self.policy_version, 1 <= self.policy_version <= VERSION_MAX),
            ("hardware class", self.hardware_class, is_class_text(self.hardware_class)),
            ("mode", self.mode, _is_line(self.mode, 64)),
            ("level", self.level, self.level is None or 1 <= self.level <= LEVEL_COUNT_MAX),
            ("value", self.value, _is_figure(self.value) and self.value >= self.limit),
            ("limit", self.limit, _is_figure(self.limit)),
            ("reason", self.reason, _is_line(self.reason, REASON_CHARACTERS_MAX)),
            ("applicant", self.requested_by, _is_line(self.requested_by, NAME_CHARACTERS_MAX)),
            ("time of issue", self.issued_at_s, 0 <= self.issued_at_s <= _SECONDS_MAX),
            ("expiry", self.expires_at_s, self.issued_at_s < self.expires_at_s <= _SECONDS_MAX),
        ):
            if not is_acceptable:
                raise WaiverError(
                    f"the {what} of a waiver is not acceptable",
                    expected="docs/spec/policy-and-approval.md §8",
                    got=ascii(value)[:120] if isinstance(value, str) else value,
                    hint=_HINT,
                )
        if self.expires_at - self.issued_at > LIFETIME_MAX:
            raise WaiverError(
                "a waiver does not last that long",
                expected=f"at most {LIFETIME_MAX.days} days from {self.issued_at:%Y-%m-%d}",
                got=f"until {self.last_day}",
                hint="what is acceptable for good belongs into the policy, as a new version",
            )

    @property
    def issued_at(self) -> datetime:
        """When it was issued, UTC."""
        return datetime.fromtimestamp(self.issued_at_s, UTC)

    @property
    def expires_at(self) -> datetime:
        """The first moment at which it no longer counts, UTC."""
        return datetime.fromtimestamp(self.expires_at_s, UTC)

    @property
    def last_day(self) -> str:
        """The day of its last second, as people write it."""
        return f"{self.expires_at - timedelta(seconds=1):%Y-%m-%d}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the payload: what an approval names it by, whoever signed it."""
        return sha256(serialize_waiver(self)).digest()

    @property
    def place(self) -> str:
        """The rule, mode and level, as people say it."""
        level = "all levels" if self.level is None else f"level {self.level}"
        return f"{self.rule} {self.mode} {level}"

    def to_json(self) -> dict[str, object]:
        """The waiver for scripts, and as records keep it."""
        return {
            "rule": self.rule,
            "limit_key": self.limit_key,
            "mode": self.mode,
            "level": self.level,
            "value": format_value(self.value),
            "limit": format_value(self.limit),
            "unit": WAIVABLE[self.limit_key][1],
            "reason": self.reason,
            "requested_by": self.requested_by,
            "issued_at": self.issued_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "last_day": self.last_day,
            "digest": self.digest.hex(),
        }


def quantize_figure(value: float) -> Decimal:
    """A judged figure as a waiver states it: six decimals, to the nearest, ties to even.

    A value and the waiver for it are compared in this form, so that two machines whose sums differ
    in the last bit agree; no waiver covers an excess that is larger by more than half a millionth.
    """
    return Decimal(value).quantize(_STEP)


def serialize_waiver(waiver: LimitWaiver) -> bytes:
    """The payload. Implements docs/spec/policy-and-approval.md §8.1."""
    return serialize_cbor(
        {
            1: FORMAT,
            2: waiver.table_digest,
            3: waiver.policy_digest,
            4: waiver.policy_version,
            5: waiver.hardware_class,
            6: waiver.rule,
            7: waiver.limit_key,
            8: waiver.mode,
            9: waiver.level,
            10: format_value(waiver.value),
            11: format_value(waiver.limit),
            12: waiver.reason,
            13: waiver.requested_by,
            14: waiver.issued_at_s,
            15: waiver.expires_at_s,
        }
    )


def parse_waiver(untrusted_bytes: bytes) -> LimitWaiver:
    """Reads a payload back.

    Raises:
        WaiverError: When it is not exactly the fields of format 1, or waives what cannot be waived.
    """
    try:
        fields = parse_cbor(untrusted_bytes, max_bytes=_PAYLOAD_BYTES_MAX, max_depth=2)
    except CborError as error:
        raise WaiverError(
            f"not a waiver: {error.what}", expected=error.expected, got=error.got
        ) from error
    match fields:
        case {
            2: bytes() as table,
            3: bytes() as policy,
            4: int(version),
            5: str(hardware),
            6: str(rule),
            7: str(limit_key),
            8: str(mode),
            9: (int() | None) as level,
            10: str(value),
            11: str(limit),
            12: str(reason),
            13: str(requested_by),
            14: int(issued_at_s),
            15: int(expires_at_s),
        }:
            waiver = LimitWaiver(
                table_digest=table,
                policy_digest=policy,
                policy_version=int(version),
                hardware_class=hardware,
                rule=rule,
                limit_key=limit_key,
                mode=mode,
                level=None if level is None else int(level),
                value=_parse_figure(value),
                limit=_parse_figure(limit),
                reason=reason,
                requested_by=requested_by,
                issued_at_s=int(issued_at_s),
                expires_at_s=int(expires_at_s),
            )
            # A CBOR boolean is an int to Python, and a decimal has many texts: as a number, and in
            # its one text, either gives other bytes.
            if serialize_waiver(waiver) == untrusted_bytes:
                return waiver
        case _:
            pass
    raise WaiverError(
        "not a waiver: its fields are not those of format 1",
        expected="keys 1 to 15 of docs/spec/policy-and-approval.md §8",
        got=repr(fields)[:120],
        hint=_HINT,
    )


def sign_waiver(waiver: LimitWaiver, signers: Sequence[Signer]) -> bytes:
    """Signs a waiver with keys of the policy role; others may add their signatures later."""
    return sign_many(serialize_waiver(waiver), signers, content_type=WAIVER_CONTENT_TYPE)


def read_waiver(untrusted_bytes: bytes) -> LimitWaiver:
    """What a signed waiver says; its signatures are not verified.

    Raises:
        SigningError: When it is no message of that kind.
        WaiverError: When its payload is no waiver.
    """
    message = parse_message(untrusted_bytes, max_bytes=WAIVER_BYTES_MAX)
    refuse_content_type(message, WAIVER_CONTENT_TYPE)
    return parse_waiver(message.payload)


def verify_waiver(untrusted_bytes: bytes, trust: TrustRecord) -> LimitWaiver:
    """Reads a waiver after the policy role's signatures are verified.

    Raises:
        SigningError: When the policy role's threshold is not met.
        WaiverError: When its payload is no waiver.
    """
    payload = trust.verify(
        untrusted_bytes,
        Role.POLICY,
        content_type=WAIVER_CONTENT_TYPE,
        max_bytes=WAIVER_BYTES_MAX,
    )
    return parse_waiver(payload)


def _is_line(text: str, characters_max: int) -> bool:
    return bool(text.strip()) and len(text) <= characters_max and text.isprintable()


def _is_figure(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -VALUE_DECIMALS_MAX and 0 <= value <= VALUE_MAX


def _parse_figure(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise WaiverError("a waiver's figure is not a number", got=repr(text[:60])) from error
    if not value.is_finite():
        raise WaiverError("a waiver's figure is not a number", got=repr(text[:60]))
    return value
