"""A TUF document is encoded as python-tuf encodes it, whatever stands in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata

from manifests.tuf_document import MalformedDocumentError, parse_tuf_document
from manifests.tuf_metadata import build_targets, describe_target
from signing.roles import Role
from signing.tuf_signers import as_tuf_signer, encode_canonical_json
from tests.manifests.world import NOW, make_publisher, new_bundle

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.sampled_from(["\n", "\\n", '"', "\\", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_json_is_that_of_securesystemslib(value):
    assert encode_canonical_json(value) == encode_canonical(value).encode()


@given(st.dictionaries(TEXT, VALUES, max_size=3))
def test_python_tuf_reads_and_writes_the_same_document(words):
    entry = describe_target("a/b", b"content", words)
    document = build_targets(version=3, expires=NOW, files={"a/b": entry}, delegations=None)
    theirs = Metadata.from_bytes(document.to_bytes())
    assert theirs.signed == document.signed
    assert theirs.signed_bytes == document.signed_bytes
    assert parse_tuf_document(document.to_bytes()).signed_bytes == document.signed_bytes


def test_a_documents_file_is_what_python_tuf_writes(tmp_path):
    publisher = make_publisher(tmp_path)
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    from tuf.api.serialization.json import JSONSerializer

    for path in sorted((tmp_path / "metadata").iterdir()):
        content = path.read_bytes()
        assert Metadata.from_bytes(content).to_bytes(JSONSerializer(compact=True)) == content


@pytest.mark.parametrize("words", [{}, {"n": "a\nb"}, {"b": "\\n"}, {"q": '"'}, {"z": "\u2028é"}])
def test_a_file_in_any_form_has_the_canonical_form_that_its_readers_make(words):
    entry = describe_target("a/b", b"content", words)
    document = build_targets(version=3, expires=NOW, files={"a/b": entry}, delegations=None)
    parts = json.loads(document.to_bytes())
    for text in (
        document.to_bytes().decode(),
        json.dumps(parts),
        json.dumps(parts, indent=1, sort_keys=True),
        json.dumps({"signed": parts["signed"], "signatures": []}, separators=(",", ":")),
        json.dumps(parts | {"more": 1}, separators=(",", ":"), sort_keys=True),
    ):
        assert parse_tuf_document(text.encode()).signed_bytes == document.signed_bytes


def test_what_is_parsed_is_what_is_verified_though_a_signature_holds_the_mark_of_the_signed_part(
    tmp_path,
):
    """The last mark of a file begins another part than JSON's reader finds: they must not part."""
    publisher = make_publisher(tmp_path)
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    genuine = max((tmp_path / "metadata").glob("*.targets.json")).read_bytes()
    head, _, signed = genuine.partition(b',"signed":')
    evil = signed.replace(b"flare", b"eviL!")
    assert evil != signed
    for forged in (
        head[:-1] + b',{"keyid":"a","sig":"","x":{"y":[],"signed":' + signed + b',"signed":' + evil,
        head[:-1] + b',{"keyid":"a","sig":"","x":[],"signed":' + signed + b'],"signed":' + evil,
        head + b',"signed":' + signed[:-1] + b',"signed":' + evil,
    ):
        try:
            document = parse_tuf_document(forged)
        except MalformedDocumentError:
            continue
        assert encode_canonical_json(document.signed.to_dict()) == document.signed_bytes


def test_a_signature_that_is_added_later_is_in_the_file(tmp_path):
    publisher = make_publisher(tmp_path)
    document = build_targets(version=3, expires=NOW, files={}, delegations=None)
    assert json.loads(document.to_bytes())["signatures"] == []
    for count, signer in enumerate(publisher.signers[Role.RELEASE], start=1):
        document.sign(as_tuf_signer(signer), append=True)
        assert len(json.loads(document.to_bytes())["signatures"]) == count
    document.sign(as_tuf_signer(publisher.signers[Role.RELEASE][0]))
    assert document.to_bytes() == parse_tuf_document(document.to_bytes()).to_bytes()
    assert len(json.loads(document.to_bytes())["signatures"]) == 1


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_raise_the_documents_own_error(untrusted_bytes):
    with pytest.raises(MalformedDocumentError):
        parse_tuf_document(untrusted_bytes)


def test_a_number_with_a_fraction_is_refused():
    document = build_targets(version=3, expires=NOW, files={}, delegations=None)
    for number in (b"3.0", b"3e2", b"NaN"):
        changed = document.to_bytes().replace(b'"version":3', b'"version":' + number)
        with pytest.raises(MalformedDocumentError, match="number"):
            parse_tuf_document(changed)
