"""Builds the golden and the refused ceremonies; `python -m tests.signing.ceremony_vectors` writes.

The keys are made from names and times are fixed, so that the bytes come out the same in every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from signing.ceremony_folder import published_files
from signing.ceremony_plan import StepKind, parse_plan
from signing.ceremony_replay import replay
from signing.ceremony_state import (
    begin_content,
    intent_content,
    key_content,
    publish_content,
    record_content,
    signature_content,
)
from signing.ceremony_statements import (
    CLOSING_CONTENT_TYPE,
    POSSESSION_CONTENT_TYPE,
    sign_statement,
)
from signing.ceremony_transcript import Phase, next_entry, parse_transcript, serialize_entry
from signing.cose import sign_many
from signing.keys import Algorithm
from signing.trust import TRUST_RECORD_CONTENT_TYPE, serialize_trust_record
from tests.gallery import Gallery, write_gallery
from tests.signing.ceremony_bench import NOW, PLAN
from tests.signing.fixed_keys import fixed_signer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signing.ceremony_state import Ceremony
    from signing.signers import Signer

FOLDER = Path(__file__).parent.parent / "golden" / "ceremony"
PLAN_BYTES = PLAN.encode()


def signer(name: str) -> Signer:
    algorithm = Algorithm.ED25519 if name == "policy" else Algorithm.ECDSA_P256
    return fixed_signer(f"golden ceremony {name}", algorithm)


def content_of(ceremony: Ceremony) -> Mapping[str, object]:  # noqa: PLR0911 - one for each kind of step
    """What a person in the room would add next."""
    step = ceremony.next_step
    assert step is not None
    if not ceremony.is_begun:
        return intent_content(ceremony, step)
    match step.kind:
        case StepKind.BEGIN:
            return {**begin_content(ceremony), "tool": "ampforge 0.1.0"}
        case StepKind.KEY:
            planned, key = ceremony.plan.key(step.name), signer(step.name).public_key
            if planned.public:
                return key_content(planned, key, b"")
            statement = ceremony.possession_statement(planned, key, ceremony.head)
            proof = sign_statement(
                statement, signer(step.name), content_type=POSSESSION_CONTENT_TYPE
            )
            return key_content(planned, key, proof)
        case StepKind.RECORD:
            return record_content(ceremony)
        case StepKind.SIGN:
            message = sign_many(
                serialize_trust_record(ceremony.record),
                [signer(step.name)],
                content_type=TRUST_RECORD_CONTENT_TYPE,
            )
            return signature_content(signer(step.name).public_key, message)
        case StepKind.PUBLISH:
            return publish_content(ceremony)
        case StepKind.CLOSE:
            closing = sign_statement(
                ceremony.closing_statement, signer(step.name), content_type=CLOSING_CONTENT_TYPE
            )
            return signature_content(signer(step.name).public_key, closing)


def hold(plan: bytes = PLAN_BYTES) -> Ceremony:
    """Hold the whole ceremony with the golden keys."""
    ceremony = replay(plan, ())
    while (step := ceremony.next_step) is not None:
        phase = Phase.CONFIRM if ceremony.is_begun else Phase.INTENT
        entry = next_entry(ceremony.entries, step, phase, content_of(ceremony), now=NOW)
        ceremony = replay(plan, (*ceremony.entries, entry))
    return ceremony


def build_vectors() -> dict[str, bytes]:
    """Return each golden file's name and content."""
    ceremony = hold()
    files = published_files(ceremony)
    first = ceremony.plan.keys[0]
    possession = ceremony.possession_statement(
        first, signer(first.name).public_key, ceremony.entries[2].hash
    )
    return {
        "plan.toml": PLAN_BYTES,
        "transcript.jsonl": b"".join(map(serialize_entry, ceremony.entries)),
        "transcript.md": files["transcript.md"],
        "trust.cose": files["trust.cose"],
        "possession.cbor": possession,
        "closing.cbor": ceremony.closing_statement,
    }


def _with(old: str, new: str) -> bytes:
    assert old in PLAN, old
    return PLAN.replace(old, new).encode()


def build_rejected() -> dict[str, bytes]:
    """Return each rejected file's name and content."""
    lines = build_vectors()["transcript.jsonl"].splitlines(keepends=True)
    other = [serialize_entry(entry) for entry in hold(_with("Wanda", "Willi")).entries]
    third = b'[[keys]]\nrole = "policy"'
    return {
        "plan-not-toml.toml": b"product = ",
        "plan-not-utf-8.toml": b"product = '\xff'",
        "plan-unknown-key.toml": b"passphrase = 'secret'\n" + PLAN_BYTES,
        "plan-without-witness.toml": _with('["Wanda"]', "[]"),
        "plan-witness-holds-a-key.toml": _with("Wanda", "Ada"),
        "plan-root-without-spare.toml": _with("root = 1", "root = 2"),
        "plan-root-by-one-person.toml": _with("root = 1", "root = 2").replace(
            third,
            b'[[keys]]\nrole = "root"\nname = "root-3"\n'
            b'holder = "Ada"\nuri = "media/root-3.pem"\n\n' + third,
        ),
        "plan-name-twice.toml": _with('name = "root-2"', 'name = "root-1"'),
        "plan-file-twice.toml": _with("media/root-2.pem", "media/root-1.pem"),
        "plan-role-without-keys.toml": _with("policy = 1", "policy = 1, release = 1"),
        "plan-unknown-role.toml": _with('role = "policy"', 'role = "quality"'),
        "plan-root-brought.toml": _with('uri = "media/root-2.pem"', 'public = "media/r.pub.pem"'),
        "plan-key-from-nowhere.toml": _with('public = "media/campaign.pub.pem"\n', ""),
        "plan-public-name-for-private.toml": _with("media/root-2.pem", "media/root-2.pub.pem"),
        "plan-rsa.toml": _with('"ed25519"', '"rsa-3072"'),
        "plan-too-many-keys.toml": PLAN_BYTES
        + b"".join(
            b'[[keys]]\nrole = "%s"\nname = "%s-%d"\nholder = "x"\nuri = "%s-%d.pem"\n'
            % (role, role, number, role, number)
            for role in (b"release", b"station", b"freshness", b"timestamp", b"snapshot")
            for number in range(8)
        ),
        "plan-holder-with-line-break.toml": _with('"Quinn"', '"Quinn\\nwitness: Eve"'),
        "transcript-of-another-plan.jsonl": b"".join(other),
        "transcript-proof-of-another-ceremony.jsonl": _replace_proof(other),
        "transcript-line-changed.jsonl": b"".join(lines).replace(b"Bea", b"Eve"),
        "transcript-line-removed.jsonl": b"".join(lines[:4] + lines[5:]),
        "transcript-lines-swapped.jsonl": b"".join(lines[:2] + lines[4:6] + lines[2:4]),
        "transcript-cut-in-a-line.jsonl": b"".join(lines)[:-40],
        "transcript-not-json.jsonl": b"# transcript\n",
        "transcript-deep.jsonl": b'{"content":' + b"[" * 60_000 + b"\n",
    }


def _replace_proof(other: list[bytes]) -> bytes:
    # Everything of this ceremony, with root-1's proof of possession of the other one.
    theirs = parse_transcript(b"".join(other), where="other")[3]
    entries = hold().entries[:3]
    entry = next_entry(entries, "key root-1", Phase.CONFIRM, theirs.content, now=NOW)
    return b"".join(map(serialize_entry, (*entries, entry)))


def read(name: str, content: bytes) -> object:
    if name.startswith("plan"):
        return parse_plan(content, where=name)
    return replay(PLAN_BYTES, parse_transcript(content, where=name), where=name)


GALLERY = Gallery(
    name="ceremony",
    title="Rejected ceremony plans and transcripts",
    about="One thing is wrong in each. Transcripts are judged against the plan of "
    "tests/golden/ceremony. Written by `python -m tests.signing.ceremony_vectors`.",
    build=build_rejected,
    read=read,
)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_name, content in build_vectors().items():
        (FOLDER / file_name).write_bytes(content)
    write_gallery(GALLERY)


if __name__ == "__main__":
    main()
