"""The manifest: what one release is, for one hardware class. Signed by the release role, offline.

A COSE_Sign (or COSE_Sign1, when the role's threshold is 1) of at most 1 KiB over a CBOR map.
Implements docs/spec/manifest.md.

| key | type | meaning |
|---|---|---|
| 1 | uint | format version, 1 or 2 |
| 2 | text 1-64 | product |
| 3 | uint32 from 1 | release counter, strictly rising over releases |
| 4 | text 1-64 | version, for people |
| 5 | text 1-32 | hardware class |
| 6, 7 | uint | lowest and highest hardware revision, inclusive |
| 8 | map | app: 1 size in bytes, 2 SHA-256 of the image file, 3 ELF SHA-256 or empty, \
4 secure version |
| 9 | map | waveform: 1 size in bytes and 2 SHA-256 of the slot image, 3 SHA-256 of the table, \
4 policy version, 5 highest peak in nanoamps |
| 10 | 32 bytes | digest of the release statement |
| 11, 12 | uint | issued and expires, seconds since 1970-01-01T00:00:00Z |
| 13 | list | at most three deltas: maps of 1 size in bytes and 2 SHA-256 of the base, 3 size in \
bytes and 4 SHA-256 of the patch, 5 compression, 6 window bits, 7 lookahead bits |
| 14 | uint | format 2: lowest release counter that a device must have; 0 for any |
| 15 | uint | format 2: first second without support, like 11; 0 if none is stated |

A manifest that asks nothing with 14 and 15 has format 1, and neither of them, so that devices that
know format 1 alone read it.

The result of each delta is the application of key 8, so its size and digest stand there, once.

The manifest does not say who installs it, or when: that is the assignment's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firmware_images.delta_format import PatchEncoding, encoding_from_numbers
from firmware_images.errors import DeltaError
from firmware_images.release_constraints import NO_CONSTRAINTS, ReleaseConstraints
from manifests.errors import DeviceMessageError
from manifests.manifest_rules import refuse_contradictions
from manifests.message_fields import (
    MESSAGE_FORMAT_VERSION,
    MESSAGE_MAX_BYTES,
    TIME_MAX_S,
    FieldReader,
    check_received_length,
    parse_versioned_message,
)
from signing.canonical_cbor import serialize_cbor
from signing.roles import Role

if TYPE_CHECKING:
    from signing.trust_record import TrustRecord

CONSTRAINED_FORMAT_VERSION = 2
MANIFEST_CONTENT_TYPE = "application/vnd.ampforge.manifest+cbor"
PRODUCT_MAX_LENGTH = 64
VERSION_MAX_LENGTH = 64
NAME_MAX_LENGTH = 32
APP_MAX_BYTES = 16 << 20
WAVEFORM_SLOT_MAX_BYTES = 64 << 10
PEAK_MAX_NA = 100_000_000
DELTAS_MAX = 3
PATCH_NUMBER_MAX = 19
"""Nothing that a patch's header can spell is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """The application image of a release.

    Attributes:
        size_bytes: Length of the image file.
        sha256: SHA-256 of the image file, exactly the bytes that are flashed.
        elf_sha256: What the image's descriptor says of its ELF file, for crash analysis; empty
            if it says nothing.
        secure_version: The image's anti-rollback counter.
    """

    size_bytes: int
    sha256: bytes
    elf_sha256: bytes
    secure_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformFacts:
    """The waveform slot image of a release: table and approval together.

    Attributes:
        size_bytes: Length of the slot image.
        sha256: SHA-256 of the slot image.
        table_sha256: SHA-256 of the table inside it.
        policy_version: Version of the limits policy that the table was approved under.
        peak_na: Highest peak of any level of any mode, nanoamps.
    """

    size_bytes: int
    sha256: bytes
    table_sha256: bytes
    policy_version: int
    peak_na: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaFacts:
    """A patch from an earlier application to the release's own.

    Attributes:
        base_size_bytes: Length of the image that must run.
        base_sha256: SHA-256 of that image file.
        patch_size_bytes: Length of the patch.
        patch_sha256: SHA-256 of the patch.
        encoding: What a device must be able to undo.
    """

    base_size_bytes: int
    base_sha256: bytes
    patch_size_bytes: int
    patch_sha256: bytes
    encoding: PatchEncoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a device installs. See the module's table for units and bounds."""

    product: str
    release_counter: int
    version: str
    hardware_class: str
    hardware_revision_min: int
    hardware_revision_max: int
    app: AppFacts
    waveform: WaveformFacts
    bundle_sha256: bytes
    issued_at_s: int
    expires_at_s: int
    deltas: tuple[DeltaFacts, ...] = ()
    constraints: ReleaseConstraints = NO_CONSTRAINTS

    def accepts_revision(self, hardware_revision: int) -> bool:
        """Whether a board of this hardware revision may run the release."""
        return self.hardware_revision_min <= hardware_revision <= self.hardware_revision_max

    @property
    def issued_at(self) -> datetime:
        """When the manifest was issued, UTC."""
        return datetime.fromtimestamp(self.issued_at_s, UTC)

    @property
    def expires_at(self) -> datetime:
        """When the manifest expires, UTC."""
        return datetime.fromtimestamp(self.expires_at_s, UTC)


def serialize_manifest(manifest: Manifest) -> bytes:
    """Return the payload that the release role signs."""
    constraints = manifest.constraints
    added: dict[int, object] = (
        {}
        if constraints.is_empty
        else {14: constraints.minimum_current_counter, 15: constraints.support_ends_at_s}
    )
    return serialize_cbor(
        {
            1: CONSTRAINED_FORMAT_VERSION if added else MESSAGE_FORMAT_VERSION,
            2: manifest.product,
            3: manifest.release_counter,
            4: manifest.version,
            5: manifest.hardware_class,
            6: manifest.hardware_revision_min,
            7: manifest.hardware_revision_max,
            8: {
                1: manifest.app.size_bytes,
                2: manifest.app.sha256,
                3: manifest.app.elf_sha256,
                4: manifest.app.secure_version,
            },
            9: {
                1: manifest.waveform.size_bytes,
                2: manifest.waveform.sha256,
                3: manifest.waveform.table_sha256,
                4: manifest.waveform.policy_version,
                5: manifest.waveform.peak_na,
            },
            10: manifest.bundle_sha256,
            11: manifest.issued_at_s,
            12: manifest.expires_at_s,
            13: [
                {
                    1: delta.base_size_bytes,
                    2: delta.base_sha256,
                    3: delta.patch_size_bytes,
                    4: delta.patch_sha256,
                    5: delta.encoding.compression.number,
                    6: delta.encoding.window_bits,
                    7: delta.encoding.lookahead_bits,
                }
                for delta in manifest.deltas
            ],
            **added,
        }
    )


def parse_manifest(verified_bytes: bytes) -> Manifest:
    """Return the manifest in a payload whose signatures were verified.

    Raises:
        DeviceMessageError: A field is missing, unknown, of another type or out of its bounds.
    """
    version, fields = parse_versioned_message(
        verified_bytes, where="manifest", latest=CONSTRAINED_FORMAT_VERSION
    )
    app = fields.read_map(8, "app")
    waveform = fields.read_map(9, "waveform")
    manifest = Manifest(
        product=fields.read_text(2, "product", maximum=PRODUCT_MAX_LENGTH),
        release_counter=fields.read_int(3, "release counter", minimum=1),
        version=fields.read_text(4, "version", maximum=VERSION_MAX_LENGTH),
        hardware_class=fields.read_text(5, "hardware class", maximum=NAME_MAX_LENGTH),
        hardware_revision_min=fields.read_int(6, "lowest hardware revision"),
        hardware_revision_max=fields.read_int(7, "highest hardware revision"),
        app=AppFacts(
            size_bytes=app.read_int(1, "size", minimum=1, maximum=APP_MAX_BYTES),
            sha256=app.read_digest(2, "SHA-256"),
            elf_sha256=app.read_optional_digest(3, "ELF SHA-256"),
            secure_version=app.read_int(4, "secure version"),
        ),
        waveform=WaveformFacts(
            size_bytes=waveform.read_int(1, "size", minimum=1, maximum=WAVEFORM_SLOT_MAX_BYTES),
            sha256=waveform.read_digest(2, "SHA-256"),
            table_sha256=waveform.read_digest(3, "table SHA-256"),
            policy_version=waveform.read_int(4, "policy version", minimum=1),
            peak_na=waveform.read_int(5, "peak", maximum=PEAK_MAX_NA),
        ),
        bundle_sha256=fields.read_digest(10, "release statement digest"),
        issued_at_s=fields.read_int(11, "issued", maximum=TIME_MAX_S),
        expires_at_s=fields.read_int(12, "expires", maximum=TIME_MAX_S),
        deltas=tuple(
            _parse_delta(delta) for delta in fields.read_map_list(13, "deltas", maximum=DELTAS_MAX)
        ),
        constraints=NO_CONSTRAINTS
        if version == MESSAGE_FORMAT_VERSION
        else ReleaseConstraints(
            minimum_current_counter=fields.read_int(14, "lowest current release counter"),
            support_ends_at_s=fields.read_int(15, "end of support", maximum=TIME_MAX_S),
        ),
    )
    for reader in (app, waveform, fields):
        reader.finish()
    refuse_contradictions(manifest, is_constrained=version != MESSAGE_FORMAT_VERSION)
    return manifest


def _parse_delta(fields: FieldReader) -> DeltaFacts:
    size_limits = {"minimum": 1, "maximum": APP_MAX_BYTES}
    numbers = tuple(
        fields.read_int(key, name, maximum=PATCH_NUMBER_MAX)
        for key, name in ((5, "compression"), (6, "window bits"), (7, "lookahead bits"))
    )
    try:
        encoding = encoding_from_numbers(*numbers, where="manifest, field 13 (deltas)")
    except DeltaError as error:
        raise DeviceMessageError(
            error.what,
            expected=error.expected,
            got=error.got,
            where="manifest, field 13 (deltas)",
        ) from error
    delta = DeltaFacts(
        base_size_bytes=fields.read_int(1, "size of the base", **size_limits),
        base_sha256=fields.read_digest(2, "SHA-256 of the base"),
        patch_size_bytes=fields.read_int(3, "size of the patch", **size_limits),
        patch_sha256=fields.read_digest(4, "SHA-256 of the patch"),
        encoding=encoding,
    )
    fields.finish()
    return delta


def verify_manifest(untrusted_bytes: bytes, trust: TrustRecord) -> Manifest:
    """Return the manifest in a signed message: length, signatures, then meaning.

    Order as docs/spec/manifest.md §4: nothing is parsed before it is verified.

    Raises:
        DeviceMessageError: Its length or a field is refused.
        TrustError: The release role's threshold of distinct keys did not sign these bytes.
    """
    check_received_length(untrusted_bytes, where="manifest")
    payload = trust.verify(
        untrusted_bytes,
        Role.RELEASE,
        content_type=MANIFEST_CONTENT_TYPE,
        max_bytes=MESSAGE_MAX_BYTES,
    )
    manifest = parse_manifest(payload)
    if manifest.product != trust.product:
        raise DeviceMessageError(
            "the manifest is for another product",
            expected=trust.product,
            got=manifest.product,
            where="manifest, field 2",
        )
    return manifest


def message_digest(message_bytes: bytes) -> bytes:
    """Return what names a signed message: the SHA-256 of its bytes, signatures included."""
    return hashlib.sha256(message_bytes).digest()
