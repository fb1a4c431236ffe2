"""SUIT envelopes: the working group's examples, and ours beside two other implementations."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import cbor2
import pytest
import taylor
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pycose.headers import KID
from pycose.headers import Algorithm as AlgorithmHeader
from pycose.messages import Sign1Message

from manifests.errors import SuitError
from manifests.manifest import verify_manifest
from manifests.suit_envelope import (
    build_envelope,
    parse_suit_envelope,
    serialize_envelope,
    signed_bytes,
    verify_suit_envelope,
)
from manifests.suit_export import (
    build_suit_manifest,
    export_release,
    verify_release_envelope,
)
from manifests.suit_identity import SuitIdentity
from manifests.suit_words import describe_envelope, format_envelope
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose_detached import parse_detached, serialize_detached, sign_detached, verify_detached
from signing.errors import CoseError, SignatureError, SigningError, ThresholdError, UnknownKeyError
from signing.keys import parse_public_key
from signing.refusal import Refusal
from signing.roles import Role, RoleKeys
from tests.conftest import IS_SOAK
from tests.manifests.golden_messages import CAMPAIGN, RELEASE, golden_trust
from tests.manifests.golden_suit import FOLDER, IDENTITY, build
from tests.manifests.test_device_messages import CONSTRAINED, MANIFEST, MANIFESTS
from tests.signing.fixed_keys import fixed_signer
from tests.signing.test_pycose import as_lists, pycose_public_key

EXAMPLES = Path(__file__).parents[1] / "assets" / "suit"
ALL = sorted(EXAMPLES.glob("*.suit"))
SIGNED = [path for path in ALL if "unsigned" not in path.name]
PUBLIC_KEY = (EXAMPLES / "public_key.pem").read_bytes()
KEY = parse_public_key(PUBLIC_KEY, where="public_key.pem")
GOLDEN = build()


def name(path):
    return path.stem


def pycose_decode(block: bytes) -> Sign1Message:
    """What pycose's `decode` does, which cannot take what current cbor2 gives it."""
    tagged = cbor2.loads(block)
    assert tagged.tag == Sign1Message.cbor_tag
    return Sign1Message.from_cose_obj(as_lists(tagged.value), allow_unknown_attributes=False)


@pytest.mark.parametrize("path", ALL, ids=name)
def test_an_example_of_the_working_group_is_read_and_written_again_byte_for_byte(path):
    content = path.read_bytes()
    envelope = parse_suit_envelope(content)
    assert serialize_envelope(envelope) == content
    assert build_envelope(envelope.manifest).manifest_bytes == envelope.manifest_bytes
    assert build_envelope(envelope.manifest).digest == envelope.digest
    assert envelope.manifest.sequence_number == int(path.stem[7])
    assert format_envelope(describe_envelope(envelope, None))


@pytest.mark.parametrize("path", SIGNED, ids=name)
def test_an_example_verifies_with_the_groups_key_and_with_no_other(path):
    content = path.read_bytes()
    envelope, signed_by = verify_suit_envelope(content, [KEY])
    assert signed_by == {KEY.key_id}
    (signature,) = envelope.signatures
    message = pycose_decode(serialize_detached(signature))
    message.key = pycose_public_key(KEY.spki_der)
    assert message.verify_signature(detached_payload=signed_bytes(envelope))
    with pytest.raises(UnknownKeyError, match="none of the keys signed"):
        verify_suit_envelope(content, [RELEASE[0].public_key])
    with pytest.raises(ThresholdError, match="too few keys"):
        verify_suit_envelope(content, [KEY, RELEASE[0].public_key], threshold=2)


@pytest.mark.parametrize("path", ALL, ids=name)
def test_an_unsigned_example_counts_for_nothing_and_a_severed_member_is_named(path):
    envelope = parse_suit_envelope(path.read_bytes())
    told = describe_envelope(envelope, None)
    assert told["dropped"] == (["install", "text"] if "severed" in path.name else [])
    if not envelope.signatures:
        with pytest.raises(UnknownKeyError, match="0 signatures"):
            verify_suit_envelope(path.read_bytes(), [KEY])


@pytest.mark.parametrize("path", SIGNED if IS_SOAK else [SIGNED[2], SIGNED[4]], ids=name)
def test_any_flipped_bit_of_an_example_is_refused(path):
    content = path.read_bytes()
    for index in range(len(content)):
        for bit in range(8) if IS_SOAK else (index % 8,):
            flipped = bytearray(content)
            flipped[index] ^= 1 << bit
            with pytest.raises(Refusal):
                verify_suit_envelope(bytes(flipped), [KEY])


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\xd8\x6b" + tail))
def test_arbitrary_bytes_are_refused_with_our_errors_only(content):
    for read in (parse_suit_envelope, lambda c: verify_suit_envelope(c, [KEY])):
        with pytest.raises(Refusal):
            read(content)


def signed_by_release(content: bytes) -> bytes:
    """An envelope around a manifest of any content, rightly signed: only its fields are wrong."""
    digest = serialize_cbor([-16, hashlib.sha256(serialize_cbor(content)).digest()])
    blocks = [sign_detached(digest, signer) for signer in RELEASE]
    members = {2: serialize_cbor([digest, *blocks]), 3: content}
    return b"\xd8\x6b" + serialize_cbor(members)


def changed(fields=None, common=None, shared=None, **sequences):
    manifest = parse_cbor(
        build_envelope(build_suit_manifest(MANIFEST, IDENTITY)).manifest_bytes, max_bytes=9999
    )
    manifest[23] = b"\xa0"
    inner = parse_cbor(manifest[3], max_bytes=9999) | (common or {})
    if shared is not None:
        inner[4] = serialize_cbor(shared)
    manifest[3] = serialize_cbor(inner)
    for key, sequence in sequences.items():
        manifest[int(key[1:])] = serialize_cbor(sequence)
    return signed_by_release(serialize_cbor(manifest | (fields or {})))


DEEP = [14, 15]
for _ in range(5):
    DEEP = [32, serialize_cbor(DEEP)]


@pytest.mark.parametrize(
    ("content", "telling"),
    [
        (b"", "its length"),
        (b"\xd8\x6b" + bytes(70_000), "its length"),
        (b"\xd8\x6c\xa0", "its tag"),
        (b"\xd8\x6b\x80", "its shape"),
        (b"\xd8\x6b\xa0", "its members"),
        (b"\xd8\x6b" + serialize_cbor({2: b"", 3: b"", 1: b"delegation"}), "its members"),
        (b"\xd8\x6b" + serialize_cbor({2: b"", 3: b"", "#app": b"payload"}), "its members"),
        (b"\xd8\x6b" + serialize_cbor({2: b"\x80", 3: b""}), "its authentication"),
        (b"\xd8\x6b" + serialize_cbor({2: [], 3: b""}), "its member 2"),
        (changed({1: 2}), "its manifest"),
        (changed({1: True}), "its manifest"),
        (changed({2: -1}), "its manifest"),
        (changed({4: ""}), "its manifest"),
        (changed({4: "https://\n"}), "its manifest"),
        (changed({24: b"uninstall"}), "its manifest"),
        (changed({7: [-16, bytes(32)]}), "member 7"),
        (changed({20: [-16, bytes(31)]}), "a digest"),
        (changed({20: [-15, bytes(32)]}), "a digest"),
        (changed(common={1: {}}), "common"),
        (changed(common={2: []}), "components"),
        (changed(common={2: [[b"a"], [b"a"]]}), "components"),
        (changed(common={2: [["a"]]}), "components"),
        (changed(shared=[21, 2]), "no such command"),
        (changed(s7=[]), "another shape"),
        (changed(s7=[3]), "another shape"),
        (changed(s7=[3, 16]), "out of range"),
        (changed(s7=[3, True]), "out of range"),
        (changed(s7=[12, 2]), "out of range"),
        (changed(s7=[True, 15]), "no such command"),
        (changed(s7=[19, {}]), "no such command"),
        (changed(s7=[33, 15]), "no such command"),
        (changed(s7=[15, [serialize_cbor([3, 15])]]), "nothing can be chosen"),
        (changed(s7=[20, {}]), "no parameter"),
        (changed(s7=[20, {19: b"encrypted"}]), "parameter that is not known"),
        (changed(s7=[20, {1: bytes(15)}]), "parameter that is not known"),
        (changed(s7=[20, {3: b"\x80"}]), "a digest"),
        (changed(s7=[20, {14: True}]), "parameter that is not known"),
        (changed(s7=[20, {22: 2}]), "parameter that is not known"),
        (changed(s7=[20, {28: serialize_cbor([6, [1]])}]), "a version"),
        (changed(s7=[20, {28: serialize_cbor([2, []])}]), "a version"),
        (changed(s7=DEEP), "too deep"),
    ],
)
def test_what_an_envelope_must_not_say_is_refused_however_well_it_is_signed(content, telling):
    with pytest.raises((SuitError, SigningError), match=telling):
        verify_release_envelope(content, golden_trust())


def test_a_member_that_the_manifest_does_not_name_or_names_otherwise_is_refused():
    envelope = parse_cbor(GOLDEN["flare-1.5.0.suit"][2:], max_bytes=9999)
    for members in (envelope | {16: b"\x82\x03\x0f"}, envelope | {23: b"\xa0"}):
        with pytest.raises(SuitError, match="not the one that was signed"):
            verify_release_envelope(b"\xd8\x6b" + serialize_cbor(members), golden_trust())
    del envelope[23]
    dropped, _ = verify_release_envelope(b"\xd8\x6b" + serialize_cbor(envelope), golden_trust())
    assert describe_envelope(dropped, None)["dropped"] == ["text"]


@pytest.mark.parametrize("file", sorted(GOLDEN))
def test_the_golden_envelopes_are_written_again_byte_for_byte(file):
    content = (FOLDER / file).read_bytes()
    assert content == GOLDEN[file]
    assert serialize_envelope(parse_suit_envelope(content)) == content


def test_an_export_says_what_the_manifest_says():
    manifest = verify_manifest(
        (FOLDER.parent / "manifests" / "manifest.cose").read_bytes(), golden_trust()
    )
    envelope, signed_by = verify_release_envelope(GOLDEN["flare-1.5.0.suit"], golden_trust())
    assert signed_by == {signer.public_key.key_id for signer in RELEASE}
    assert envelope.manifest.sequence_number == manifest.release_counter
    seen = cbor2.loads(cbor2.loads(cbor2.loads(GOLDEN["flare-1.5.0.suit"]).value[3])[3])
    assert seen[2] == [[b"app"], [b"wave"]]
    shared = cbor2.loads(seen[4])
    first, choice, second = shared[3], shared[7], shared[11]
    assert cbor2.loads(first[3]) == [-16, manifest.app.sha256]
    assert first[14] == manifest.app.size_bytes
    assert UUID(bytes=first[1]) == IDENTITY.vendor_id
    assert [UUID(bytes=cbor2.loads(branch)[1][2]) for branch in choice] == [
        IDENTITY.class_id("flare-c3", 1),
        IDENTITY.class_id("flare-c3", 2),
    ]
    assert cbor2.loads(second[3]) == [-16, manifest.waveform.sha256]
    assert second[14] == manifest.waveform.size_bytes
    install = cbor2.loads(cbor2.loads(cbor2.loads(GOLDEN["flare-1.5.0.suit"]).value[3])[20])
    base = "https://updates.flare.example/device/artifacts/"
    assert [install[3], install[11]] == [
        {21: base + manifest.app.sha256.hex()},
        {21: base + manifest.waveform.sha256.hex()},
    ]


def test_step_and_support_are_asked_when_it_is_installed_and_not_when_it_runs():
    manifest = cbor2.loads(cbor2.loads(GOLDEN["flare-1.7.0.suit"]).value[3])
    install = cbor2.loads(manifest[20])
    assert install[:10] == [
        *(12, 0, 20, {4: CONSTRAINED.constraints.support_ends_at_s}, 4, 15),
        *(20, {28: cbor2.dumps([2, [2]])}, 28, 15),
    ]
    running = cbor2.loads(manifest[7]) + cbor2.loads(manifest[9])
    assert not {4, 28} & set(running[::2])


def test_the_identifiers_are_those_of_the_drafts_own_example():
    """The draft derives its example's identifiers from arm.com, by UUID version 5."""
    identity = SuitIdentity(vendor_domain="arm.com")
    assert str(identity.vendor_id) == "fa6b4a53-d5ad-5fdf-be9d-e663e4d41ffe"


def test_each_signature_of_an_export_verifies_with_pycose():
    envelope = parse_suit_envelope(GOLDEN["flare-1.5.0.suit"])
    by_kid = {signer.public_key.key_id[:8]: signer.public_key for signer in RELEASE}
    for signature in envelope.signatures:
        message = pycose_decode(serialize_detached(signature))
        assert message.phdr[KID] == signature.kid
        message.key = pycose_public_key(by_kid[signature.kid].spki_der)
        assert message.phdr[AlgorithmHeader].identifier == signature.algorithm_id
        assert message.verify_signature(detached_payload=signed_bytes(envelope))
        assert not message.verify_signature(detached_payload=signed_bytes(envelope) + b"x")


def taylors_manifest(manifest, identity):
    """The same release, described in the words of the generator taylor and encoded by it."""

    def image(sha256, size_bytes):
        digest = {"algorithm": "sha256", "digest": sha256.hex()}
        return {"image-digest": digest, "image-size": size_bytes}

    def fetch(index, sha256):
        return [
            {"suit-directive-set-component-index": index},
            {"suit-directive-override-parameters": {"uri": identity.artifact_uri(sha256)}},
            {"suit-directive-fetch": 2},
            {"suit-condition-image-match": 15},
        ]

    app, wave = manifest.app, manifest.waveform
    branches = [
        [
            {"suit-directive-override-parameters": {"class-id": str(class_id)}},
            {"suit-condition-class-identifier": 15},
        ]
        for class_id in (identity.class_id(manifest.hardware_class, n) for n in (1, 2))
    ]
    first = image(app.sha256, app.size_bytes) | {"vendor-id": str(identity.vendor_id)}
    shared = [
        {"suit-directive-set-component-index": 0},
        {"suit-directive-override-parameters": first},
        {"suit-condition-vendor-identifier": 15},
        {"suit-directive-try-each": branches},
        {"suit-directive-set-component-index": 1},
        {"suit-directive-override-parameters": image(wave.sha256, wave.size_bytes)},
    ]
    return {
        "version": 1,
        "sequence-number": manifest.release_counter,
        "suit-common": {
            "suit-components": [[b"app".hex()], [b"wave".hex()]],
            "suit-shared-sequence": shared,
        },
        "sequence": {
            "image-validation": [
                {"suit-directive-set-component-index": 0},
                {"suit-condition-image-match": 15},
                {"suit-directive-set-component-index": 1},
                {"suit-condition-image-match": 15},
            ],
            "suit-invoke": [
                {"suit-directive-set-component-index": 0},
                {"suit-directive-invoke": 2},
            ],
            "payload-installation": fetch(0, app.sha256) + fetch(1, wave.sha256),
        },
    }


def test_another_generator_writes_the_same_manifest():
    """Taylor orders maps in its own way, so it is the decoded content that is compared."""
    theirs = cbor2.loads(
        cbor2.loads(taylor.encode_manifest(json.dumps(taylors_manifest(MANIFEST, IDENTITY))))
    )
    ours = cbor2.loads(build_envelope(build_suit_manifest(MANIFEST, IDENTITY)).manifest_bytes)
    assert ours.pop(23)[0] == -16  # the text, which taylor has no word for
    assert theirs.keys() == ours.keys() == {1, 2, 3, 7, 9, 20}
    assert (theirs[1], theirs[2]) == (ours[1], ours[2])
    for key in (7, 9, 20):
        assert cbor2.loads(theirs[key]) == cbor2.loads(ours[key])
    their_common, our_common = cbor2.loads(theirs[3]), cbor2.loads(ours[3])
    assert their_common[2] == our_common[2]
    assert cbor2.loads(their_common[4]) == cbor2.loads(our_common[4])


def test_what_another_generator_signed_verifies_here():
    """Its order of members is not deterministic CBOR for more than one sequence; so it has one."""
    signer = fixed_signer("a maker")
    pem = signer.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ).decode()
    described = taylors_manifest(MANIFEST, IDENTITY)
    common = described["suit-common"] | {
        "suit-shared-sequence": [
            {"suit-directive-override-parameters": {"image-size": 7}},
            {"suit-condition-vendor-identifier": 15},
        ]
    }
    described |= {
        "suit-common": common,
        "sequence": {"suit-invoke": [{"suit-directive-invoke": 2}]},
    }
    content = taylor.build_envelope(json.dumps(described), key_pem=pem)
    envelope, signed_by = verify_suit_envelope(content, [signer.public_key])
    assert signed_by == {signer.public_key.key_id}
    assert envelope.manifest.sequence_number == MANIFEST.release_counter


@settings(max_examples=40)
@given(MANIFESTS)
def test_every_release_that_can_be_exported_reads_back(manifest):
    span = manifest.hardware_revision_max - manifest.hardware_revision_min
    if span >= 32:
        with pytest.raises(SuitError, match="too many"):
            build_suit_manifest(manifest, IDENTITY)
        manifest = replace(manifest, hardware_revision_max=manifest.hardware_revision_min)
    content = export_release(manifest, IDENTITY, RELEASE, golden_trust())
    envelope, _ = verify_release_envelope(content, golden_trust())
    assert envelope.manifest == build_suit_manifest(manifest, IDENTITY)


def test_only_the_release_roles_threshold_exports():
    for signers, error in (
        (RELEASE[:1], ThresholdError),
        ((CAMPAIGN,), UnknownKeyError),
        ((RELEASE[0], RELEASE[0]), ThresholdError),
        ((), ThresholdError),
        ((*RELEASE, CAMPAIGN), UnknownKeyError),
    ):
        with pytest.raises(error):
            export_release(MANIFEST, IDENTITY, signers, golden_trust())


def test_a_revoked_release_key_counts_for_nothing():
    third = fixed_signer("release-3")
    keys = tuple(signer.public_key for signer in (*RELEASE, third))
    roles = {**golden_trust().roles, Role.RELEASE: RoleKeys(threshold=2, keys=keys)}
    lost = replace(
        golden_trust(), roles=roles, revoked_key_ids=frozenset({RELEASE[0].public_key.key_id})
    )
    with pytest.raises(UnknownKeyError, match="does not count for the release role"):
        export_release(MANIFEST, IDENTITY, RELEASE, lost)
    signed = export_release(MANIFEST, IDENTITY, RELEASE, golden_trust())
    with pytest.raises(ThresholdError, match="too few keys signed"):
        verify_release_envelope(signed, lost)
    content = export_release(MANIFEST, IDENTITY, (RELEASE[1], third), lost)
    assert len(verify_release_envelope(content, lost)[1]) == 2


@pytest.mark.parametrize(
    ("domain", "base"),
    [("Flare.example", ""), ("flare", ""), ("-a.b", ""), ("a..b", ""), ("a" * 64 + ".b", "")]
    + [("flare.example", base) for base in ("ftp://x", "https://", "https://a b", "//x")],
)
def test_a_domain_or_address_that_is_none_is_refused(domain, base):
    with pytest.raises(SuitError, match="cannot be read"):
        SuitIdentity(vendor_domain=domain, base_url=base)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xd2",
        b"\xd8\x62\x80",
        b"\xd2" + serialize_cbor([b"", {}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: -7}), {}, b"payload", b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: -7, 2: [4]}), {}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: -7, 3: "text/plain"}), {}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: -7}), {1: -7}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: -7, 4: b"k"}), {4: b"k"}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: -7, 4: b""}), {}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({1: True}), {}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor({4: b"k"}), {}, None, b""]),
        b"\xd2" + serialize_cbor([serialize_cbor([]), {}, None, b""]),
    ],
)
def test_a_detached_signature_with_another_shape_or_header_is_refused(block):
    with pytest.raises(CoseError, match="detached signature"):
        parse_detached(block, where="test")


def test_a_detached_signature_is_of_one_key_and_one_text():
    signer, other = RELEASE[0], CAMPAIGN
    signature = parse_detached(sign_detached(b"payload", signer), where="test")
    keys = [other.public_key, signer.public_key]
    assert verify_detached(signature, b"payload", keys) == signer.public_key.key_id
    assert verify_detached(signature, b"payload", keys[:1]) is None
    with pytest.raises(SignatureError):
        verify_detached(signature, b"another", keys)
    with pytest.raises(SigningError, match="another algorithm"):
        verify_detached(replace(signature, algorithm_id=-8), b"payload", keys)
    unprotected = replace(
        signature, protected=serialize_cbor({1: -7}), unprotected_kid=signature.kid
    )
    again = parse_detached(serialize_detached(unprotected), where="test")
    assert again.kid == signature.kid
