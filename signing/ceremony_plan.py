"""The plan of a key ceremony: who makes which key, and how many must sign. A person writes it.

Implements docs/spec/key-ceremony.md §2. What a plan asks for is judged before anything is made:
root keeps one key more than its threshold, no one person reaches root's threshold, and a witness
holds no key. The steps of a ceremony follow from its plan alone (`steps_of`).

Not here: running them (`signing.ceremony_run`), and the record of what was done
(`signing.ceremony_transcript`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from signing.bounded_toml import parse_toml
from signing.errors import CeremonyError
from signing.keys import Algorithm
from signing.pkcs11_uri import is_pkcs11_uri
from signing.role_algorithms import allowed_algorithms
from signing.roles import MAX_KEYS_PER_ROLE, Role
from signing.trust import MAX_TRUST_RECORD_BYTES
from signing.trust_record import LARGEST_VERSION
from signing.validation_words import describe_problem, first_problem
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAN_MAX_BYTES: Final = 65_536
_SPKI_BYTES: Final = {
    Algorithm.ECDSA_P256: 91,
    Algorithm.ECDSA_P384: 120,
    Algorithm.ED25519: 44,
    Algorithm.RSA_3072: 422,
}
MAX_KEYS: Final = MAX_KEYS_PER_ROLE * len(Role)

_HINT: Final = "correct the plan; `ampforge key ceremony plan` writes one to compare with"
_NOT_PLAIN: Final = "is not one line of plain characters, or too long"
_Text = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f|`]{1,80}$", strip_whitespace=False)
]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class PlannedKey(BaseModel):
    """One key of the plan.

    Attributes:
        role: The role that it will hold.
        name: Its short name, once in a plan.
        holder: The person who has it.
        uri: Where the private key is made (a path) or lies already (`pkcs11:`); the holder proves
            possession.
        public: Instead of `uri`: a public key that was made elsewhere and is only recorded.
        algorithm: What it signs with.
        no_passphrase: Whether its file is left unencrypted.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    role: Annotated[Role, Field(strict=False)]
    name: _Name
    holder: _Text
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None
    public: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None
    algorithm: Annotated[Algorithm, Field(strict=False)] = Algorithm.ECDSA_P256
    no_passphrase: bool = False

    @property
    def is_in_token(self) -> bool:
        """Whether the private key lies in a hardware module."""
        return self.uri is not None and is_pkcs11_uri(self.uri)

    @property
    def source(self) -> str:
        """Where the key comes from, as the plan names it."""
        return self.public or self.uri or ""


class CeremonyPlan(BaseModel):
    """A whole plan.

    Attributes:
        product: Name of the product, as in the trust record.
        place: Where the ceremony is held, for the transcript.
        witnesses: Who watches, and writes the check values down.
        minimum_policy_version: As in the trust record.
        rehearsal: Whether the keys are marked as test keys.
        thresholds: Keys that must sign, by role; 1 where a role is left out.
        keys: The keys, in the order in which they are made.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    product: Annotated[str, StringConstraints(pattern=r"^[ -{}~]{1,64}$")]
    place: _Text = "not stated"
    witnesses: Annotated[tuple[_Text, ...], Field(strict=False, min_length=1, max_length=8)]
    minimum_policy_version: Annotated[int, Field(ge=0, le=LARGEST_VERSION)] = 0
    rehearsal: bool = False
    thresholds: dict[
        Annotated[Role, Field(strict=False)], Annotated[int, Field(ge=1, le=MAX_KEYS_PER_ROLE)]
    ]
    keys: Annotated[tuple[PlannedKey, ...], Field(strict=False, min_length=2, max_length=MAX_KEYS)]

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> Self:
        for problem in (*_problems_of_keys(self), *_problems_of_roles(self)):
            raise ValueError(problem)
        return self

    def threshold(self, role: Role) -> int:
        """Return how many keys of a role must sign."""
        return self.thresholds.get(role, 1)

    def keys_of(self, role: Role) -> tuple[PlannedKey, ...]:
        """Return the keys of a role, in the plan's order."""
        return tuple(key for key in self.keys if key.role is role)

    def key(self, name: str) -> PlannedKey:
        """Return the key of a name that the plan has."""
        return next(key for key in self.keys if key.name == name)


class StepKind(StrEnum):
    """What a step of a ceremony does (docs/spec/key-ceremony.md §3)."""

    BEGIN = "begin"
    KEY = "key"
    RECORD = "record"
    SIGN = "sign"
    PUBLISH = "publish"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        number: From 1.
        kind: What it does.
        name: The key that it is about; empty where it is about none.
    """

    number: int
    kind: StepKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


def steps_of(plan: CeremonyPlan) -> tuple[Step, ...]:
    """Return the steps of a plan, in order (docs/spec/key-ceremony.md §3)."""
    roots = [key.name for key in plan.keys_of(Role.ROOT)]
    wanted = [
        (StepKind.BEGIN, ""),
        *((StepKind.KEY, key.name) for key in plan.keys),
        (StepKind.RECORD, ""),
        *((StepKind.SIGN, name) for name in roots[: plan.threshold(Role.ROOT)]),
        (StepKind.PUBLISH, ""),
        *((StepKind.CLOSE, name) for name in roots),
    ]
    return tuple(
        Step(number=number, kind=kind, name=name) for number, (kind, name) in enumerate(wanted, 1)
    )


def parse_plan(untrusted_bytes: bytes, *, where: object) -> CeremonyPlan:
    """Read a plan.

    Args:
        untrusted_bytes: The file's content, TOML.
        where: The file, for errors.

    Raises:
        CeremonyError: It is not a plan, or one that must not be carried out.
    """
    if len(untrusted_bytes) > PLAN_MAX_BYTES:
        raise CeremonyError(
            "the ceremony's plan is too long",
            expected=f"at most {PLAN_MAX_BYTES} bytes",
            got="more",
            where=where,
            hint=_HINT,
        )
    try:
        values = parse_toml(untrusted_bytes.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOML, UTF-8 and endless integers alike
        raise CeremonyError(
            "the ceremony's plan is not TOML", got=str(error)[:200], where=where, hint=_HINT
        ) from error
    try:
        return CeremonyPlan.model_validate(values)
    except ValidationError as error:
        raise _unacceptable(error, where) from error


def _unacceptable(error: ValidationError, where: object) -> CeremonyError:
    first = first_problem(error)
    kind = first["type"]
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
    place = ascii(place[:120])[1:-1]
    if kind == "value_error":
        return CeremonyError(describe_problem(first), where=where, hint=_HINT)
    is_pattern = kind == "string_pattern_mismatch"
    words = _NOT_PLAIN if is_pattern else describe_problem(first, CeremonyPlan)
    # The value of an unknown key may be a passphrase that somebody wanted to put there.
    has_value = kind not in {"extra_forbidden", "missing"}
    return CeremonyError(
        f"the ceremony's plan is not acceptable: {place or 'all of it'} {words}",
        got=ascii(first.get("input"))[:120] if has_value else None,
        where=where,
        hint=_HINT,
    )


def _problems_of_keys(plan: CeremonyPlan) -> list[str]:
    problems = []
    seen: dict[str, str] = {}
    for key in plan.keys:
        if (key.uri is None) == (key.public is None):
            problems.append(f"key {key.name} needs one of uri and public")
        allowed = allowed_algorithms(key.role, frozenset())
        if key.algorithm not in allowed:
            problems.append(
                f"key {key.name}: the role {key.role} takes {' or '.join(sorted(allowed))}, "
                f"not {key.algorithm}"
            )
        if key.uri is not None and not key.is_in_token and not _is_private_name(key.uri):
            problems.append(f"key {key.name}: its private key file is to be named NAME.pem")
        if key.role is Role.ROOT and key.public is not None:
            problems.append(f"root key {key.name} cannot be brought: its holder signs here")
        if key.holder in plan.witnesses:
            problems.append(f"{key.holder} holds {key.name} and cannot witness the ceremony")
        for what in (f"name {key.name}", f"source {key.source}"):
            if what in seen:
                problems.append(f"keys {seen[what]} and {key.name} have the same {what}")
            seen[what] = key.name
    return problems


def _problems_of_roles(plan: CeremonyPlan) -> list[str]:
    problems = []
    for role in Role:
        keys, threshold = plan.keys_of(role), plan.threshold(role)
        if not keys and role is not Role.ROOT and role not in plan.thresholds:
            continue
        # Root must survive the loss of one key: nothing else can replace root.
        needed = threshold + (1 if role is Role.ROOT else 0)
        if not needed <= len(keys) <= MAX_KEYS_PER_ROLE:
            problems.append(
                f"the role {role} has the wrong number of keys: a threshold of {threshold} needs "
                f"{needed} to {MAX_KEYS_PER_ROLE}, and the plan has {len(keys)}"
            )
    longest_bytes = _record_bytes(plan)
    if longest_bytes > MAX_TRUST_RECORD_BYTES:
        problems.append(
            f"the trust record would be too long for a device: {longest_bytes} bytes of "
            f"{MAX_TRUST_RECORD_BYTES}; plan fewer keys, or ed25519 for those that devices do not "
            "verify"
        )
    threshold = plan.threshold(Role.ROOT)
    held: dict[str, int] = {}
    for key in plan.keys_of(Role.ROOT):
        held[key.holder] = held.get(key.holder, 0) + 1
    for holder, count in held.items():
        if threshold > 1 and count >= threshold:
            problems.append(
                f"{holder} alone would hold {count} root keys, and {threshold} make root"
            )
    return problems


def _record_bytes(plan: CeremonyPlan) -> int:
    # Upper bounds: the message and the record's other fields, a role's name, a key, a signature.
    keys_bytes = sum(2 + _SPKI_BYTES[key.algorithm] for key in plan.keys)
    return (
        260
        + 24 * len({key.role for key in plan.keys})
        + keys_bytes
        + 96 * plan.threshold(Role.ROOT)
    )


def _is_private_name(path: str) -> bool:
    return path.endswith(".pem") and not path.endswith(".pub.pem")


def describe_thresholds(plan: CeremonyPlan) -> Mapping[Role, tuple[int, int]]:
    """Return threshold and number of keys of each role that the plan names."""
    return {
        role: (plan.threshold(role), len(keys)) for role in Role if (keys := plan.keys_of(role))
    }
