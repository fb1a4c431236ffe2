"""What a SUIT envelope says, as a document for scripts and in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from manifests.message_fields import TIME_MAX_S
from manifests.suit_commands import COMMAND_NAMES, Command, Sequence
from manifests.suit_digest import SuitDigest
from manifests.suit_manifest import SEQUENCE_NAMES, TEXT
from manifests.suit_parameters import PARAMETER_NAMES, USE_BEFORE, Parameter, VersionMatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from manifests.suit_envelope import SuitEnvelope

SUIT_SCHEMA = "ampforge.suit-envelope/1"
_COMPARISONS: Final = {1: ">", 2: ">=", 3: "=", 4: "<=", 5: "<"}


def describe_envelope(envelope: SuitEnvelope, signed_by: frozenset[bytes] | None) -> dict[str, Any]:
    """Return an envelope as a document; bytes are hexadecimal.

    Args:
        envelope: The envelope.
        signed_by: The keys that it was verified with; `None` if it was not.
    """
    manifest = envelope.manifest
    return {
        "schema": SUIT_SCHEMA,
        "verified": signed_by is not None,
        "manifest_digest": envelope.digest.value.hex(),
        "signed_by": sorted(key_id.hex() for key_id in signed_by or ()),
        "signatures": len(envelope.signatures),
        "sequence_number": manifest.sequence_number,
        "components": [[part.hex() for part in component] for component in manifest.components],
        "reference_uri": manifest.reference_uri,
        "sequences": {
            "shared": _describe_sequence(manifest.shared),
            **{
                SEQUENCE_NAMES[key]: _describe_sequence(sequence)
                for key, sequence in sorted(manifest.sequences.items())
            },
        },
        "has_text": bool(manifest.text),
        "dropped": [
            "text" if key == TEXT else SEQUENCE_NAMES[key]
            for key in sorted(manifest.severed)
            if key not in manifest.sequences and not (key == TEXT and manifest.text)
        ],
    }


def format_envelope(document: Mapping[str, Any]) -> str:
    """Return such a document as a person reads it."""
    signers = ", ".join(key[:16] for key in document["signed_by"])
    number = f"sequence number {document['sequence_number']}"
    lines = [
        f"verified: {number}, signed by {signers}"
        if document["verified"]
        else f"NOT VERIFIED: {number}, signed by whomever",
        f"  manifest {document['manifest_digest']}",
        *(
            f"  component {index}: {'/'.join(map(_in_letters, parts))}"
            for index, parts in enumerate(document["components"])
        ),
    ]
    for name, commands in document["sequences"].items():
        lines.append(f"  {name}")
        lines += (f"    {line}" for line in _format_commands(commands))
    if document["dropped"]:
        lines.append(f"  left out of this copy: {', '.join(document['dropped'])}")
    return "\n".join(lines)


def _describe_sequence(sequence: Sequence) -> list[dict[str, Any]]:
    return [
        {"command": COMMAND_NAMES[command.code], "argument": _describe_argument(command)}
        for command in sequence
    ]


def _describe_argument(command: Command) -> object:
    match command.code, command.argument:
        case (15, tuple(branches)):
            return [
                None if branch is None else _describe_sequence(branch)  # type: ignore[arg-type]
                for branch in branches
            ]
        case (32, tuple(sequence)):
            return _describe_sequence(sequence)  # type: ignore[arg-type]
        case (_, dict(parameters)):
            return {
                PARAMETER_NAMES[key]: _describe_parameter(value)
                for key, value in parameters.items()
            }
        case (_, tuple(indices)):
            return list(indices)
        case (_, argument):
            return argument


def _describe_parameter(value: Parameter) -> object:
    match value:
        case SuitDigest():
            return {"algorithm_id": value.algorithm_id, "digest": value.value.hex()}
        case VersionMatch():
            return {"comparison": value.comparison, "version": list(value.version)}
        case bytes():
            return value.hex()
        case _:
            return value


def _format_commands(commands: list[dict[str, Any]]) -> Iterator[str]:
    for command in commands:
        name, argument = command["command"], command["argument"]
        if isinstance(argument, dict):
            yield f"{name}: " + ", ".join(
                f"{key} {_in_short(key, value)}" for key, value in argument.items()
            )
        elif isinstance(argument, list) and name == "directive-try-each":
            for branch in argument:
                yield f"{name}: {'nothing' if branch is None else ''}".rstrip()
                yield from (f"  {line}" for line in _format_commands(branch or []))
        elif isinstance(argument, list) and name == "directive-run-sequence":
            yield f"{name}:"
            yield from (f"  {line}" for line in _format_commands(argument))
        else:
            yield f"{name} {argument}"


def _in_short(key: str, value: object) -> object:
    match value:
        case {"digest": digest}:
            return digest
        case {"comparison": int(comparison), "version": [*numbers]}:
            return f"{_COMPARISONS[comparison]} {'.'.join(map(str, numbers))}"
        case int() if key == PARAMETER_NAMES[USE_BEFORE] and value <= TIME_MAX_S:
            return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return value


def _in_letters(part: str) -> str:
    content = bytes.fromhex(part)
    is_text = content.isascii() and content.isalnum()
    return f"{content.decode()!r}" if is_text else part or "''"
