"""A published release as a SUIT envelope, for tools that speak SUIT and not our messages.

Implements docs/spec/suit-export.md §1. Two components, application and waveform slot image; what is
asked of a device is written as conditions wherever SUIT has one, so that a device that cannot judge
it refuses. What SUIT has no word for (policy version, secure version, verified span) is text. Our
boards take no envelope.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from manifests.errors import SuitError
from manifests.suit_commands import (
    FETCH,
    IMAGE_MATCH,
    INVOKE,
    OVERRIDE_PARAMETERS,
    SET_COMPONENT_INDEX,
    TRY_EACH,
    Command,
    Sequence,
)
from manifests.suit_digest import SHA_256, SuitDigest, digest_of
from manifests.suit_envelope import (
    build_envelope,
    serialize_envelope,
    signed_bytes,
    verify_suit_envelope,
)
from manifests.suit_manifest import INSTALL, TEXT, VALIDATE, SuitManifest
from manifests.suit_manifest import INVOKE as INVOKE_MEMBER
from manifests.suit_parameters import (
    CLASS_ID,
    GREATER_OR_EQUAL,
    IMAGE_DIGEST,
    IMAGE_SIZE,
    URI,
    USE_BEFORE,
    VENDOR_ID,
    VERSION,
    Parameter,
    VersionMatch,
)
from signing.canonical_cbor import serialize_cbor
from signing.cose_detached import parse_detached, sign_detached
from signing.errors import ThresholdError, UnknownKeyError
from signing.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from manifests.manifest import Manifest
    from manifests.suit_envelope import SuitEnvelope
    from manifests.suit_identity import SuitIdentity
    from signing.keys import PublicKey
    from signing.signers import Signer
    from signing.trust_record import TrustRecord

APP_COMPONENT: Final = (b"app",)
WAVEFORM_COMPONENT: Final = (b"wave",)
REVISIONS_MAX: Final = 32
_APP, _WAVEFORM = 0, 1
_REPORT_ALL, _REPORT_FAILURE = 15, 2
_DESCRIPTION, _UPDATE_DESCRIPTION = 1, 2
_LANGUAGE: Final = "en"


def build_suit_manifest(manifest: Manifest, identity: SuitIdentity) -> SuitManifest:
    """Return what an envelope of a release says.

    Raises:
        SuitError: The release is for more hardware revisions than an envelope names.
    """
    text = _describe(manifest)
    return SuitManifest(
        sequence_number=manifest.release_counter,
        components=(APP_COMPONENT, WAVEFORM_COMPONENT),
        shared=_shared_sequence(manifest, identity),
        sequences={
            VALIDATE: (
                _select(_APP),
                _report(IMAGE_MATCH),
                _select(_WAVEFORM),
                _report(IMAGE_MATCH),
            ),
            INVOKE_MEMBER: (_select(_APP), _report(INVOKE, _REPORT_FAILURE)),
            INSTALL: (
                *_constraints(manifest),
                *_fetch(_APP, identity.artifact_uri(manifest.app.sha256)),
                *_fetch(_WAVEFORM, identity.artifact_uri(manifest.waveform.sha256)),
            ),
        },
        text=text,
        severed={TEXT: digest_of(text)},
    )


def export_release(
    manifest: Manifest, identity: SuitIdentity, signers: Iterable[Signer], trust: TrustRecord
) -> bytes:
    """Return a release as a signed envelope, verified as a reader would.

    Args:
        manifest: The release's, verified.
        identity: Whose devices it is for, and where the images are.
        signers: Private keys of the release role, as many as its threshold.
        trust: The product's trust record.

    Raises:
        SuitError: The release cannot be written as an envelope.
        SigningError: The signers are not the release role's, or too few.
    """
    envelope = build_envelope(build_suit_manifest(manifest, identity))
    payload = signed_bytes(envelope)
    by_key = {signer.public_key.key_id: signer for signer in signers}
    _refuse_other_signers(frozenset(by_key), trust)
    blocks = {key_id: sign_detached(payload, signer) for key_id, signer in by_key.items()}
    signed = replace(
        envelope,
        signatures=tuple(
            parse_detached(blocks[key_id], where="own signature") for key_id in sorted(blocks)
        ),
    )
    content = serialize_envelope(signed)
    read, _ = verify_release_envelope(content, trust)
    assert read == signed
    return content


def verify_release_envelope(
    untrusted_bytes: bytes, trust: TrustRecord
) -> tuple[SuitEnvelope, frozenset[bytes]]:
    """Return an envelope that the release role's threshold of keys signed, and which did.

    Raises:
        SuitError: It is refused.
        SigningError: The release role did not sign it.
    """
    threshold = trust.roles[Role.RELEASE].threshold
    return verify_suit_envelope(untrusted_bytes, _counted_keys(trust), threshold=threshold)


def _counted_keys(trust: TrustRecord) -> tuple[PublicKey, ...]:
    keys = trust.roles[Role.RELEASE].keys
    return tuple(key for key in keys if key.key_id not in trust.revoked_key_ids)


def _refuse_other_signers(key_ids: frozenset[bytes], trust: TrustRecord) -> None:
    """Refuse before anything is signed: a signature that counts for nothing is in no envelope."""
    counted = {key.key_id for key in _counted_keys(trust)}
    threshold = trust.roles[Role.RELEASE].threshold
    if others := key_ids - counted:
        raise UnknownKeyError(
            "a key that should sign a SUIT envelope does not count for the release role",
            expected=", ".join(sorted(key_id.hex()[:16] for key_id in counted)),
            got=", ".join(sorted(key_id.hex()[:16] for key_id in others)),
            hint="give release keys that the trust record names and does not revoke",
        )
    if len(key_ids) < threshold:
        raise ThresholdError(
            "too few keys to sign a SUIT envelope",
            expected=f"{threshold} distinct keys of the release role",
            got=len(key_ids),
            hint="give --key once for each: an envelope is signed by all of them at once",
        )


def _shared_sequence(manifest: Manifest, identity: SuitIdentity) -> Sequence:
    revisions = range(manifest.hardware_revision_min, manifest.hardware_revision_max + 1)
    if len(revisions) > REVISIONS_MAX:
        raise SuitError(
            "a SUIT envelope names each hardware revision, and the release has too many",
            expected=f"at most {REVISIONS_MAX} revisions",
            got=f"{revisions[0]} to {revisions[-1]}",
            hint="narrow hardware_revision_min and hardware_revision_max in [product]",
        )
    classes = [identity.class_id(manifest.hardware_class, revision) for revision in revisions]
    app, waveform = manifest.app, manifest.waveform
    first = _image(app.sha256, app.size_bytes) | {VENDOR_ID: identity.vendor_id.bytes}
    if len(classes) == 1:
        chosen: Sequence = (_report(CLASS_ID),)
        first |= {CLASS_ID: classes[0].bytes}
    else:
        # The branches name what the condition compares; if none fits, the sequence fails.
        chosen = (
            Command(
                code=TRY_EACH,
                argument=tuple(
                    (_override({CLASS_ID: class_id.bytes}), _report(CLASS_ID))
                    for class_id in classes
                ),
            ),
        )
    return (
        _select(_APP),
        _override(first),
        _report(VENDOR_ID),
        *chosen,
        _select(_WAVEFORM),
        _override(_image(waveform.sha256, waveform.size_bytes)),
    )


def _constraints(manifest: Manifest) -> Sequence:
    """What is asked when it is installed, and never again: what runs goes on running."""
    asked = manifest.constraints
    commands: list[Command] = []
    if asked.support_ends_at_s:
        commands += (_override({USE_BEFORE: asked.support_ends_at_s}), _report(USE_BEFORE))
    if asked.minimum_current_counter:
        match = VersionMatch(comparison=GREATER_OR_EQUAL, version=(asked.minimum_current_counter,))
        commands += (_override({VERSION: match}), _report(VERSION))
    return (_select(_APP), *commands) if commands else ()


def _fetch(component: int, uri: str) -> Sequence:
    return (
        _select(component),
        _override({URI: uri}),
        _report(FETCH, _REPORT_FAILURE),
        _report(IMAGE_MATCH),
    )


def _image(sha256: bytes, size_bytes: int) -> dict[int, Parameter]:
    return {
        IMAGE_DIGEST: SuitDigest(algorithm_id=SHA_256, value=sha256),
        IMAGE_SIZE: size_bytes,
    }


def _select(component: int) -> Command:
    return Command(code=SET_COMPONENT_INDEX, argument=component)


def _override(parameters: dict[int, Parameter]) -> Command:
    return Command(code=OVERRIDE_PARAMETERS, argument=parameters)


def _report(code: int, policy: int = _REPORT_ALL) -> Command:
    return Command(code=code, argument=policy)


def _describe(manifest: Manifest) -> bytes:
    revisions = f"{manifest.hardware_revision_min} to {manifest.hardware_revision_max}"
    facts = (
        f"release counter {manifest.release_counter}; secure version "
        f"{manifest.app.secure_version}; limits policy version {manifest.waveform.policy_version}; "
        f"highest current {manifest.waveform.peak_na} nA; release statement "
        f"{manifest.bundle_sha256.hex()}. The waveform image carries its approval; a device checks "
        "it, and that its calibration covers the highest current, before it installs."
    )
    return serialize_cbor(
        {
            _LANGUAGE: {
                _DESCRIPTION: f"{manifest.product} {manifest.version} for "
                f"{manifest.hardware_class}, hardware revisions {revisions}",
                _UPDATE_DESCRIPTION: facts,
            }
        }
    )
