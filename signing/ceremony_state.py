"""A ceremony as far as it has come, and what the lines of its steps must say.

Implements docs/spec/key-ceremony.md §5. A value: nothing here reads, writes or verifies a file;
`signing.ceremony_replay` fills it, line by line.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import TYPE_CHECKING, Final

from signing.ceremony_plan import StepKind
from signing.ceremony_statements import serialize_closing, serialize_possession
from signing.cose_message import parse_message, serialize_sign
from signing.roles import Role, RoleKeys
from signing.trust import serialize_trust_record, verify_trust_record
from signing.trust_record import TrustRecord
from signing.value_class import dataclass

if TYPE_CHECKING:
    from signing.ceremony_plan import CeremonyPlan, PlannedKey, Step
    from signing.ceremony_transcript import Entry
    from signing.keys import PublicKey

FIRST_VERSION: Final = 1


@dataclass(slots=True, kw_only=True)
class Ceremony:
    """How far a ceremony has come, every line judged.

    Attributes:
        plan: The plan.
        plan_sha256: Digest of its file.
        steps: Its steps.
        entries: The lines so far.
        keys: Public keys by name, those that were made or brought so far.
        signatures: Root holders' signatures over the record, by name of the key.
        closed: Names of the root keys that signed the transcript.
    """

    plan: CeremonyPlan
    plan_sha256: bytes
    steps: tuple[Step, ...]
    entries: tuple[Entry, ...] = ()
    keys: dict[str, PublicKey] = field(default_factory=dict)
    signatures: dict[str, bytes] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    _record: TrustRecord | None = None

    @property
    def next_step(self) -> Step | None:
        """The first step that is not done; `None` at the end."""
        done = len(self.entries) // 2
        return self.steps[done] if done < len(self.steps) else None

    @property
    def is_begun(self) -> bool:
        """Whether the next step had begun already when the ceremony was interrupted."""
        return len(self.entries) % 2 == 1

    @property
    def head(self) -> bytes:
        """Hash of the last line."""
        return self.entries[-1].hash

    @property
    def identity(self) -> bytes:
        """What names this ceremony: the hash of its first CONFIRM."""
        return self.entries[1].hash

    def confirmation(self, step: Step) -> Entry:
        """Return the line that confirmed a step."""
        return self.entries[2 * step.number - 1]

    @property
    def record(self) -> TrustRecord:
        """The trust record that the keys make up, unsigned.

        Raises:
            TrustError: They make up none that can be used.
        """
        if self._record is None:
            self._record = TrustRecord(
                product=self.plan.product,
                version=FIRST_VERSION,
                roles={
                    role: RoleKeys(
                        threshold=self.plan.threshold(role),
                        keys=tuple(self.keys[planned.name] for planned in held),
                    )
                    for role in Role
                    if (held := self.plan.keys_of(role))
                },
                minimum_policy_version=self.plan.minimum_policy_version,
            )
        return self._record

    @property
    def signed_record(self) -> bytes:
        """The trust record with the root holders' signatures: what `trust.cose` must hold."""
        messages = [parse_message(signed) for signed in self.signatures.values()]
        signed = serialize_sign(
            messages[0].body_protected,
            messages[0].payload,
            [signature for message in messages for signature in message.signatures],
        )
        verify_trust_record(signed, current=None)
        return signed

    def possession_statement(self, planned: PlannedKey, key: PublicKey, intent: bytes) -> bytes:
        """Return what the holder of a key signs."""
        return serialize_possession(
            product=self.plan.product,
            ceremony=self.identity,
            role=planned.role,
            name=planned.name,
            key=key,
            intent=intent,
        )

    @property
    def closing_statement(self) -> bytes:
        """What each root holder signs at the end: every line up to the published record."""
        published = next(step for step in self.steps if step.kind is StepKind.PUBLISH)
        last = self.confirmation(published)
        return serialize_closing(
            product=self.plan.product,
            ceremony=self.identity,
            count=last.sequence,
            head=last.hash,
            trust_sha256=hashlib.sha256(self.signed_record).digest(),
        )


def intent_content(ceremony: Ceremony, step: Step) -> dict[str, object]:
    """Return what the INTENT of a step says: for a key who has it and where, else nothing."""
    if step.kind is not StepKind.KEY:
        return {}
    planned = ceremony.plan.key(step.name)
    return {"role": str(planned.role), "holder": planned.holder, "source": planned.source}


def begin_content(ceremony: Ceremony) -> dict[str, object]:
    """Return what the first CONFIRM says, without the tool."""
    plan = ceremony.plan
    return {
        "plan_sha256": ceremony.plan_sha256.hex(),
        "product": plan.product,
        "place": plan.place,
        "witnesses": list(plan.witnesses),
        "rehearsal": plan.rehearsal,
        "steps": len(ceremony.steps),
    }


def key_content(planned: PlannedKey, key: PublicKey, proof: bytes) -> dict[str, object]:
    """Return what the CONFIRM of a key says; the proof is empty for a key that was brought."""
    return {
        "role": str(planned.role),
        "holder": planned.holder,
        "algorithm": str(key.algorithm),
        "key_id": key.key_id.hex(),
        "spki": key.spki_der.hex(),
        "proof": proof.hex(),
    }


def record_content(ceremony: Ceremony) -> dict[str, object]:
    """Return what the CONFIRM of the unsigned record says."""
    payload = serialize_trust_record(ceremony.record)
    return {"payload": payload.hex(), "sha256": hashlib.sha256(payload).hexdigest()}


def signature_content(key: PublicKey, message: bytes) -> dict[str, object]:
    """Return what the CONFIRM of a root holder's signature says."""
    return {"key_id": key.key_id.hex(), "message": message.hex()}


def publish_content(ceremony: Ceremony) -> dict[str, object]:
    """Return what the CONFIRM of the signed record says."""
    signed = ceremony.signed_record
    return {"sha256": hashlib.sha256(signed).hexdigest(), "bytes": len(signed)}
