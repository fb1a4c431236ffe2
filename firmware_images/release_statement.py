"""The release statement: everything that a release consists of, in the one signed document.

Deterministic CBOR, a map:

| key | value |
|---|---|
| 1 | format, 1 or 2 |
| 2 | product, text |
| 3 | version, text |
| 4 | release counter, 1 to 2^32-1; a device never goes back to a lower one |
| 5 | hardware class, text |
| 6 | lowest and highest hardware revision, array of two |
| 7 | chip, esptool's name |
| 8 | flash size, bytes |
| 9 | parts: name to array of size in bytes and SHA-256 |
| 10 | app: array of project name, version, secure version, ELF SHA-256, each null if not stated |
| 11 | limits policy: array of SHA-256 and version |
| 12 | format 2: lowest release counter of a board that may take the release directly, 0 for any |
| 13 | format 2: first second without support, since 1970-01-01T00:00:00Z; 0 if none is stated |

A statement that asks nothing with 12 and 13 has format 1, and neither of them.

The release role signs it as COSE_Sign with content type `RELEASE_CONTENT_TYPE`. Normative text:
docs/spec/release-statement-and-bundle.md §2. This module does not open parts: `bundle` does.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from firmware_images.bundle_archive import ARCHIVE_MAX_BYTES, NAME_PATTERN
from firmware_images.errors import BundleError
from firmware_images.release_constraints import NO_CONSTRAINTS, ReleaseConstraints
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.esp_image import EspImage

RELEASE_CONTENT_TYPE = "application/vnd.ampforge.release+cbor"
STATEMENT_MAX_BYTES = 8192
RELEASE_COUNTER_MAX = 0xFFFFFFFF
_FORMAT = 1
_CONSTRAINED_FORMAT = 2
_KEYS = {_FORMAT: frozenset(range(1, 12)), _CONSTRAINED_FORMAT: frozenset(range(1, 14))}
_DIGEST_BYTES = 32
_REVISION_MAX = 0xFFFF
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
_DESCRIPTOR_TEXT_MAX_CHARACTERS = 32
_HINT = "build the bundle again with this version of ampforge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of the release: its exact size and SHA-256."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """What the app's descriptor says; every field is `None` for an image without one."""

    project_name: str | None
    version: str | None
    secure_version: int | None
    elf_sha256: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseStatement:
    """What the release role signs.

    Attributes:
        product: Product name, the same as in the trust record.
        version: Version that people read.
        release_counter: Rises with every release of the product.
        hardware_class: Boards that the table and app are for.
        hardware_revision_min: Lowest board revision.
        hardware_revision_max: Highest board revision.
        chip: esptool's chip name.
        flash_size_bytes: Flash that a board must have.
        parts: Size and digest of each part by name.
        app: What the app's descriptor says.
        policy_digest: SHA-256 of the limits policy that the table was judged by.
        policy_version: Its version.
        constraints: Which boards may take it directly, and until when it is supported.
    """

    product: str
    version: str
    release_counter: int
    hardware_class: str
    hardware_revision_min: int
    hardware_revision_max: int
    chip: str
    flash_size_bytes: int
    parts: Mapping[str, Part]
    app: AppFacts
    policy_digest: bytes
    policy_version: int
    constraints: ReleaseConstraints = NO_CONSTRAINTS


def describe_part(content: bytes) -> Part:
    """Return the size and digest of a part."""
    return Part(size_bytes=len(content), sha256=hashlib.sha256(content).digest())


def describe_app(image: EspImage) -> AppFacts:
    """Return what the statement says about an app image."""
    return AppFacts(
        project_name=image.project_name,
        version=image.version,
        secure_version=image.secure_version,
        elf_sha256=image.elf_sha256,
    )


def serialize_statement(statement: ReleaseStatement) -> bytes:
    """Return the statement as deterministic CBOR.

    Raises:
        BundleError: A value is not one that a statement can hold.
    """
    _judge(statement)
    app, constraints = statement.app, statement.constraints
    added: dict[int, object] = (
        {}
        if constraints.is_empty
        else {12: constraints.minimum_current_counter, 13: constraints.support_ends_at_s}
    )
    return serialize_cbor(
        {
            1: _CONSTRAINED_FORMAT if added else _FORMAT,
            2: statement.product,
            3: statement.version,
            4: statement.release_counter,
            5: statement.hardware_class,
            6: [statement.hardware_revision_min, statement.hardware_revision_max],
            7: statement.chip,
            8: statement.flash_size_bytes,
            9: {name: [part.size_bytes, part.sha256] for name, part in statement.parts.items()},
            10: [app.project_name, app.version, app.secure_version, app.elf_sha256],
            11: [statement.policy_digest, statement.policy_version],
            **added,
        }
    )


def parse_statement(
    untrusted_bytes: bytes, *, where: str = "release statement"
) -> ReleaseStatement:
    """Parse a statement whose signatures were verified, or that is only being looked at.

    Raises:
        BundleError: It is not a statement of format 1 or 2.
    """
    try:
        value = parse_cbor(untrusted_bytes, max_bytes=STATEMENT_MAX_BYTES)
    except CborError as error:
        raise BundleError(
            "the release statement is not readable", got=str(error), where=where, hint=_HINT
        ) from error
    fields = value if isinstance(value, dict) else {}
    match fields:
        case {
            1: int(format_version),
            2: str(product),
            3: str(version),
            4: int(release_counter),
            5: str(hardware_class),
            6: [int(revision_min), int(revision_max)],
            7: str(chip),
            8: int(flash_size_bytes),
            9: dict(parts),
            10: [
                (str() | None) as project_name,
                (str() | None) as app_version,
                (int() | None) as secure_version,
                (bytes() | None) as elf_sha256,
            ],
            11: [bytes(policy_digest), int(policy_version)],
        } if fields.keys() == _KEYS.get(format_version):
            statement = ReleaseStatement(
                product=product,
                version=version,
                release_counter=int(release_counter),
                hardware_class=hardware_class,
                hardware_revision_min=int(revision_min),
                hardware_revision_max=int(revision_max),
                chip=chip,
                flash_size_bytes=int(flash_size_bytes),
                parts={str(name): _parse_part(part, where) for name, part in parts.items()},
                app=AppFacts(
                    project_name=project_name,
                    version=app_version,
                    secure_version=None if secure_version is None else int(secure_version),
                    elf_sha256=elf_sha256,
                ),
                policy_digest=policy_digest,
                policy_version=int(policy_version),
                constraints=_parse_constraints(fields),
            )
            # A CBOR boolean is an int to Python; as a number it gives other bytes.
            if serialize_statement(statement) == untrusted_bytes:
                return statement
    raise BundleError(
        "the release statement does not have its fields",
        expected="format 1 or 2 of docs/spec/release-statement-and-bundle.md",
        got=f"format {fields.get(1)!r}"[:60],
        where=where,
        hint=_HINT,
    )


def _parse_constraints(fields: Mapping[object, object]) -> ReleaseConstraints:
    match (fields.get(12, 0), fields.get(13, 0)):
        case (int(minimum_current_counter), int(support_ends_at_s)):
            return ReleaseConstraints(
                minimum_current_counter=int(minimum_current_counter),
                support_ends_at_s=int(support_ends_at_s),
            )
    return NO_CONSTRAINTS  # serialized again, it is not what was read


def _parse_part(value: object, where: str) -> Part:
    match value:
        case [int(size_bytes), bytes(sha256)]:
            return Part(size_bytes=int(size_bytes), sha256=sha256)
    raise BundleError(
        "a part in the release statement does not have size and digest", where=where, hint=_HINT
    )


def _judge(statement: ReleaseStatement) -> None:
    app = statement.app
    checks: tuple[tuple[str, object, bool], ...] = (
        *((name, text, bool(_TEXT.fullmatch(text))) for name, text in _texts(statement)),
        (
            "release counter",
            statement.release_counter,
            1 <= statement.release_counter <= RELEASE_COUNTER_MAX,
        ),
        (
            "hardware revisions",
            (statement.hardware_revision_min, statement.hardware_revision_max),
            0
            <= statement.hardware_revision_min
            <= statement.hardware_revision_max
            <= _REVISION_MAX,
        ),
        (
            "flash size",
            statement.flash_size_bytes,
            0 < statement.flash_size_bytes <= 1 << 30,
        ),
        ("policy digest", statement.policy_digest, len(statement.policy_digest) == _DIGEST_BYTES),
        (
            "policy version",
            statement.policy_version,
            1 <= statement.policy_version <= RELEASE_COUNTER_MAX,
        ),
        (
            "step or support",
            statement.constraints,
            statement.constraints.is_possible(statement.release_counter),
        ),
        (
            "app description",
            app,
            all(
                text is None
                or (len(text) <= _DESCRIPTOR_TEXT_MAX_CHARACTERS and text.isprintable())
                for text in (app.project_name, app.version)
            )
            and (app.secure_version is None or 0 <= app.secure_version <= RELEASE_COUNTER_MAX)
            and (app.elf_sha256 is None or len(app.elf_sha256) == _DIGEST_BYTES),
        ),
        *(
            (
                f"part {name}",
                part,
                bool(NAME_PATTERN.fullmatch(name))
                and 0 <= part.size_bytes <= ARCHIVE_MAX_BYTES
                and len(part.sha256) == _DIGEST_BYTES,
            )
            for name, part in statement.parts.items()
        ),
    )
    for name, value, is_acceptable in checks:
        if not is_acceptable:
            raise BundleError(
                f"the release statement's {name} is not acceptable",
                expected="docs/spec/release-statement-and-bundle.md §2",
                got=repr(value)[:120],
                hint="correct [product] or [release] in ampforge.toml",
            )


def _texts(statement: ReleaseStatement) -> tuple[tuple[str, str], ...]:
    return (
        ("product", statement.product),
        ("version", statement.version),
        ("hardware class", statement.hardware_class),
        ("chip", statement.chip),
    )
