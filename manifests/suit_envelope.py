"""SUIT envelopes: read, verified, and written again byte for byte.

```
107({ 2: authentication, 3: manifest, 16 | 20 | 23: severable members })
authentication = [digest of the manifest, signatures]
```

Everything behind a colon is CBOR wrapped in a byte string; the manifest is `suit_manifest`'s. The
subset is that of docs/spec/suit-export.md §2: no integrated payloads and no delegation. The signed
bytes are the digest; so signatures come first, then the manifest's digest, then its fields (§4
there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from manifests.suit_digest import SuitDigest, digest_of, parse_digest
from manifests.suit_manifest import (
    ENVELOPE_MAX_BYTES,
    SEVERABLE,
    SuitManifest,
    encoded_member,
    parse_cbor_of,
    parse_suit_manifest,
    refused_envelope,
    serialize_suit_manifest,
)
from signing.canonical_cbor import serialize_cbor
from signing.cose_detached import (
    DetachedSignature,
    parse_detached,
    serialize_detached,
    verify_detached,
)
from signing.errors import ThresholdError, UnknownKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signing.keys import PublicKey

ENVELOPE_TAG: Final = bytes.fromhex("d86b")
_AUTHENTICATION, _MANIFEST = 2, 3
_SIGNATURES_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitEnvelope:
    """An envelope.

    Attributes:
        manifest: What it says.
        manifest_bytes: The same, encoded: what the digest is of.
        digest: The digest that is signed.
        signatures: Detached signatures over the encoded digest.
    """

    manifest: SuitManifest
    manifest_bytes: bytes
    digest: SuitDigest
    signatures: tuple[DetachedSignature, ...]


def build_envelope(manifest: SuitManifest) -> SuitEnvelope:
    """Return an envelope that nobody signed yet."""
    content = serialize_suit_manifest(manifest)
    return SuitEnvelope(
        manifest=manifest, manifest_bytes=content, digest=digest_of(content), signatures=()
    )


def signed_bytes(envelope: SuitEnvelope) -> bytes:
    """Return what the signatures of an envelope are over: its encoded digest."""
    return serialize_cbor(envelope.digest.to_cbor())


def serialize_envelope(envelope: SuitEnvelope) -> bytes:
    """Return an envelope's bytes; of one that was read, the same again."""
    manifest = envelope.manifest
    members = {
        key: content
        for key in sorted(manifest.severed)
        if (content := encoded_member(manifest, key)) is not None
    }
    authentication = [
        signed_bytes(envelope),
        *(serialize_detached(signature) for signature in envelope.signatures),
    ]
    return ENVELOPE_TAG + serialize_cbor(
        {
            _AUTHENTICATION: serialize_cbor(authentication),
            _MANIFEST: envelope.manifest_bytes,
            **members,
        }
    )


def verify_suit_envelope(
    untrusted_bytes: bytes, keys: Iterable[PublicKey], *, threshold: int = 1
) -> tuple[SuitEnvelope, frozenset[bytes]]:
    """Return an envelope and the ids of the distinct keys that signed it.

    Args:
        untrusted_bytes: The file.
        keys: The keys that count.
        threshold: How many of them must have signed.

    Raises:
        CoseError: A signature is not readable.
        UnknownKeyError: None of the keys signed it.
        ThresholdError: Too few of them did.
        SignatureError, AlgorithmError: A signature that names one of them is not that key's.
        SuitError: It is no envelope, was changed after signing, or says what is not known here.
    """
    members = _open(untrusted_bytes)
    digest, encoded_digest, signatures = _parse_authentication(members.pop(_AUTHENTICATION))
    known = tuple(keys)
    signed_by = frozenset(
        key_id
        for signature in signatures
        if (key_id := verify_detached(signature, encoded_digest, known)) is not None
    )
    if not signed_by:
        raise UnknownKeyError(
            "none of the keys signed this SUIT envelope",
            expected=", ".join(key.key_id.hex()[:16] for key in known) or "a key",
            got=f"{len(signatures)} signatures of others",
            hint="name the key of whoever made the envelope",
        )
    if len(signed_by) < threshold:
        raise ThresholdError(
            "too few keys signed this SUIT envelope",
            expected=f"{threshold} distinct keys",
            got=f"{len(signed_by)}: {', '.join(sorted(key.hex()[:16] for key in signed_by))}",
            hint="have another key holder sign it",
        )
    return _assemble(members, digest, signatures), signed_by


def parse_suit_envelope(untrusted_bytes: bytes) -> SuitEnvelope:
    """Read an envelope whose signatures nobody looks at: to show it, never to act on it.

    Raises:
        CoseError: A signature is not readable.
        SuitError: It is no envelope, does not match its digest, or says what is not known here.
    """
    members = _open(untrusted_bytes)
    digest, _, signatures = _parse_authentication(members.pop(_AUTHENTICATION))
    return _assemble(members, digest, signatures)


def _open(untrusted_bytes: bytes) -> dict[int, bytes]:
    if not 1 <= len(untrusted_bytes) <= ENVELOPE_MAX_BYTES:
        raise refused_envelope(
            "its length", f"1 to {ENVELOPE_MAX_BYTES} bytes", f"{len(untrusted_bytes)} bytes"
        )
    if untrusted_bytes[:2] != ENVELOPE_TAG:
        raise refused_envelope("its tag", "107 (d86b…)", f"{untrusted_bytes[:2].hex()}…")
    members = parse_cbor_of(untrusted_bytes[2:], "envelope")
    if not isinstance(members, dict):
        raise refused_envelope("its shape", "a map", type(members).__name__)
    known = {_AUTHENTICATION, _MANIFEST, *SEVERABLE}
    if not {_AUTHENTICATION, _MANIFEST} <= members.keys() <= known:
        raise refused_envelope(
            "its members", f"2, 3 and perhaps {sorted(SEVERABLE)}", str(list(members))[:120]
        )
    for key, content in members.items():
        if not isinstance(content, bytes):
            raise refused_envelope(f"its member {key}", "a byte string", type(content).__name__)
    return dict(members)


def _parse_authentication(
    untrusted_bytes: bytes,
) -> tuple[SuitDigest, bytes, tuple[DetachedSignature, ...]]:
    match parse_cbor_of(untrusted_bytes, "authentication"):
        case [bytes(digest), *blocks] if len(blocks) <= _SIGNATURES_MAX:
            pass
        case _:
            raise refused_envelope("its authentication", "[digest, signatures]", "another shape")
    signatures = []
    for number, block in enumerate(blocks, 1):
        if not isinstance(block, bytes):
            raise refused_envelope("its authentication", "wrapped signatures", type(block).__name__)
        signatures.append(parse_detached(block, where=f"signature {number}"))
    return parse_digest(digest, where="digest of the manifest"), digest, tuple(signatures)


def _assemble(
    members: dict[int, bytes], digest: SuitDigest, signatures: tuple[DetachedSignature, ...]
) -> SuitEnvelope:
    content = members.pop(_MANIFEST)
    if not digest.is_of(content):
        raise refused_envelope(
            "its manifest is not the one that was signed", digest.value.hex(), "another digest"
        )
    return SuitEnvelope(
        manifest=parse_suit_manifest(content, members),
        manifest_bytes=content,
        digest=digest,
        signatures=signatures,
    )
