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
from signing.tuf_signers import encode_canonical_json
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
