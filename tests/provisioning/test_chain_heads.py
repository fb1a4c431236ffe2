"""Heads of chains: exact bytes, checked by others, and nothing else accepted."""

from __future__ import annotations

import subprocess

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from pycose.headers import ContentType
from pycose.keys import EC2Key
from pycose.messages import Sign1Message

from provisioning.chain_heads import (
    HEAD_CONTENT_TYPE,
    ChainHead,
    StationCertificates,
    parse_head,
    serialize_head,
    sign_head,
)
from signing.errors import CertificateError
from signing.refusal import Refusal
from tests.gallery import committed_files, read_expected, tell_outcome
from tests.provisioning.golden_heads import (
    CA_DER,
    FOLDER,
    HEAD,
    NOW,
    STATION_DER,
    build_golden,
)
from tests.provisioning.rejected_heads import GALLERY
from tests.signing.golden_vectors import STATION
from tests.signing.test_pycose import as_lists, ec_numbers

FILES = committed_files(GALLERY)
SIGNED = (FOLDER / "head.cose").read_bytes()
hashes = st.binary(min_size=32, max_size=32).filter(any)
heads = st.builds(
    ChainHead,
    ledger_uuid=st.text("0123456789abcdef-", min_size=1, max_size=36),
    epoch=st.integers(1, 32),
    station=st.from_regex(r"[a-z0-9][a-z0-9-]{0,63}", fullmatch=True),
    count=st.integers(1, 1 << 40),
    head=hashes,
    at=st.just(HEAD.at),
)


def verify(signed, der=STATION_DER):
    return StationCertificates(CA_DER, now=NOW).verify(signed, der)


def test_the_golden_head_is_written_and_read_as_it_is():
    assert build_golden() == {name: (FOLDER / name).read_bytes() for name in build_golden()}
    assert serialize_head(HEAD) == (FOLDER / "head.cbor").read_bytes()
    assert sign_head(HEAD, STATION) == SIGNED
    assert verify(SIGNED) == HEAD


@given(heads)
def test_what_is_signed_is_read_back(head):
    assert parse_head(serialize_head(head)) == head


@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_only_our_errors(content):
    with pytest.raises(Refusal):
        parse_head(content)
    with pytest.raises(Refusal):
        verify(content)


@given(st.integers(0, len(SIGNED) * 8 - 1))
def test_any_flipped_bit_is_refused(bit):
    content = bytearray(SIGNED)
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Refusal):
        verify(bytes(content))


def test_a_device_is_no_station():
    with pytest.raises(CertificateError, match="of another kind"):
        verify(SIGNED, (FOLDER.parent / "signing" / "device.der").read_bytes())


def test_pycose_verifies_a_head():
    tagged = cbor2.loads(SIGNED)
    message = Sign1Message.from_cose_obj(as_lists(tagged.value), allow_unknown_attributes=False)
    assert message.phdr[ContentType] == HEAD_CONTENT_TYPE
    key = x509.load_der_x509_certificate(STATION_DER).public_key()
    message.key = EC2Key(**ec_numbers(key))
    assert message.verify_signature()
    assert cbor2.loads(message.payload)[5] == HEAD.count
    message.payload = message.payload.replace(b"station-1", b"station-2")
    assert not message.verify_signature()


def test_openssl_verifies_the_signature_of_a_head_and_the_certificate(tmp_path):
    protected, _, content, signature = cbor2.loads(SIGNED).value
    half = len(signature) // 2
    numbers = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    (tmp_path / "signature").write_bytes(encode_dss_signature(*numbers))
    signed = cbor2.dumps(["Signature1", protected, b"", content])  # RFC 9052 §4.4
    (tmp_path / "signed").write_bytes(signed)
    for name, der in (("ca", CA_DER), ("station", STATION_DER)):
        (tmp_path / f"{name}.der").write_bytes(der)
        openssl("x509", "-inform", "DER", "-in", tmp_path / f"{name}.der",
                "-out", tmp_path / f"{name}.pem")  # fmt: skip
    openssl("x509", "-in", tmp_path / "station.pem", "-noout", "-pubkey",
            "-out", tmp_path / "key.pem")  # fmt: skip
    assert "OK" in openssl(
        "verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "station.pem"
    )
    assert "Verified OK" in openssl(
        *("dgst", "-sha256", "-verify", tmp_path / "key.pem"),
        *("-signature", tmp_path / "signature", tmp_path / "signed"),
    )


def openssl(*arguments):
    return subprocess.run(
        ["openssl", *map(str, arguments)],  # noqa: S607 - the system's OpenSSL
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_head_is_refused_in_exactly_these_words(name):
    assert tell_outcome(lambda: GALLERY.read(name, FILES[name])) == read_expected(GALLERY)[name]


def test_the_gallery_is_what_its_builder_writes():
    assert GALLERY.build() == FILES
    assert set(read_expected(GALLERY)) == set(FILES)
    assert "accepted" not in read_expected(GALLERY).values()
    assert GALLERY.read("right", SIGNED) == HEAD
