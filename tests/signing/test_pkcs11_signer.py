"""Keys in a real SoftHSM, filled by its own tool, with OpenSSL judging what it signs."""

from __future__ import annotations

import copy
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.algorithms import CERTIFICATE_ALGORITHMS, MESSAGE_ALGORITHMS, Algorithm
from signing.certificate_issuing import create_ca_certificate, issue_certificate
from signing.certificate_requests import create_csr
from signing.certificates import verify_certificate
from signing.cose import sign_many, sign_one, verify_many, verify_one
from signing.errors import CertificateError, KeyFileError, PassphraseError, Pkcs11Error
from signing.key_encryption import serialize_pem
from signing.key_files import generate_key
from signing.key_uris import load_secure_boot_signer, load_signer, load_software_signer
from tests.signing.fixed_keys import fixed_signer
from tests.signing.test_independent import openssl_verify
from tests.softhsm import PIN, Token, make_token

if TYPE_CHECKING:
    from pathlib import Path

TYPE = "application/vnd.ampforge.test"
NOT_BEFORE = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALGORITHMS = pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS))


@pytest.fixture
def token() -> Token:
    return make_token()


def moved_key(token: Token, folder: Path, algorithm: Algorithm, name: str = "key"):
    """Make a key file, import it into the token, and return its public key and URI."""
    path = folder / f"{name}.pem"
    if algorithm is Algorithm.RSA_3072:  # finding primes takes a second: one key is enough
        path.write_bytes(serialize_pem("PRIVATE KEY", fixed_signer("", algorithm).to_pkcs8_der()))
        public = fixed_signer("", algorithm).public_key
    else:
        public = generate_key(path, algorithm, passphrase=None)
    return public, token.import_key(path, name, f"{len(name):02x}")


@ALGORITHMS
def test_a_token_signs_and_openssl_and_we_accept_it(token, tmp_path, algorithm):
    public, uri = moved_key(token, tmp_path, algorithm)
    signer = load_signer(uri, environment=token.environment)
    assert signer.public_key == public
    public.verify(b"", signer.sign(b""))
    for message in (b"message", bytes(100_000)):
        signature = signer.sign(message)
        public.verify(message, signature)
        assert "ver" in openssl_verify(tmp_path, algorithm, signer, message, signature).lower()
    assert token.label in repr(signer)
    assert public.key_id.hex() in repr(signer)


def test_messages_by_a_token_verify_and_mix_with_those_of_files(token, tmp_path):
    public, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    signer, other = load_signer(uri, environment=token.environment), fixed_signer("other")
    one = sign_one(b"payload", signer, content_type=TYPE)
    assert verify_one(one, [public], content_type=TYPE).payload == b"payload"
    both = sign_many(b"payload", [other, signer], content_type=TYPE)
    verified = verify_many(both, [public, other.public_key], threshold=2, content_type=TYPE)
    assert public.key_id in verified.key_ids


def test_a_token_signs_for_secure_boot_with_the_keys_that_chips_verify(
    token, tmp_path, monkeypatch
):
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    public, uri = moved_key(token, tmp_path, Algorithm.RSA_3072, "rsa")
    assert load_secure_boot_signer(uri).public_key == public
    _, uri = moved_key(token, tmp_path, Algorithm.ED25519, "other")
    with pytest.raises(KeyFileError, match=r"expected P-256 or P-384 or RSA-3072.*got Ed25519"):
        load_secure_boot_signer(uri)


@pytest.mark.parametrize("algorithm", sorted(CERTIFICATE_ALGORITHMS))
def test_a_factory_ca_in_a_token_issues_certificates(token, tmp_path, algorithm):
    _, uri = moved_key(token, tmp_path, algorithm)
    ca_signer = load_signer(uri, environment=token.environment)
    ca = create_ca_certificate(ca_signer, common_name="factory", not_before=NOT_BEFORE)
    names = {"serial_number": "F1-26W09-000017", "mac": "a0:b1:c2:00:00:01", "job_id": "job-1"}
    csr = create_csr(fixed_signer("device"), **names)
    issued = issue_certificate(
        ca_signer,
        ca,
        csr,
        **{f"expected_{name}": value for name, value in names.items()},
        not_before=NOT_BEFORE,
    )
    certificate = verify_certificate(issued, ca, now=NOT_BEFORE)
    assert certificate.public_key == fixed_signer("device").public_key


def test_a_key_for_certificates_never_gives_its_private_half():
    from signing.certificate_keys import as_private_key

    for algorithm in sorted(CERTIFICATE_ALGORITHMS):
        key = as_private_key(fixed_signer("ca", algorithm))
        assert copy.copy(key) is copy.deepcopy(key) is key
        ways = [key.private_bytes]
        if algorithm is Algorithm.ED25519:
            ways.append(key.private_bytes_raw)
        else:
            assert (key.curve.name, key.key_size) == ("secp256r1", 256)
            ways += [key.private_numbers, lambda key=key: key.exchange(None, None)]
        for way in ways:
            with pytest.raises(CertificateError, match="not given out"):
                way()


def test_the_pin_is_asked_for_once_for_all_keys_of_a_token(token, tmp_path):
    asked = []

    def ask() -> bytes:
        asked.append(1)
        return PIN.encode()

    environment = {"AMPFORGE_PKCS11_MODULE": str(token.module), "AMPFORGE_PKCS11_PIN": ""}
    for name in ("a", "bb"):
        public, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256, name)
        del uri
    signers = [
        load_signer(token.uri(name), passphrase=ask, environment=environment)
        for name in ("a", "bb", "a")
    ]
    assert len(asked) == 1
    public.verify(b"m", signers[1].sign(b"m"))
    assert signers[0].public_key == signers[2].public_key != public


def test_a_wrong_pin_is_told_with_what_the_token_says_of_tries(token, tmp_path):
    _, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    wrong = {**token.environment, "AMPFORGE_PKCS11_PIN": "161803"}
    with pytest.raises(PassphraseError, match="does not accept the PIN") as refused:
        load_signer(uri, environment=wrong)
    assert "wrong at least once since the last login" in str(refused.value)
    assert "161803" not in str(refused.value) + str(refused.value.hint)
    with pytest.raises(PassphraseError, match="does not accept the PIN"):
        load_signer(uri, environment={**wrong, "AMPFORGE_PKCS11_PIN": "1"})
    load_signer(uri, environment=token.environment).sign(b"m")


def test_a_pin_that_nobody_gives_or_that_is_no_text_is_told(token, tmp_path):
    _, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    environment = {"AMPFORGE_PKCS11_MODULE": str(token.module)}
    with pytest.raises(PassphraseError, match="needs its PIN and none was given") as refused:
        load_signer(uri, environment=environment)
    assert "AMPFORGE_PKCS11_PIN" in str(refused.value.hint)
    with pytest.raises(PassphraseError, match="a PIN is not UTF-8"):
        load_signer(uri, passphrase=lambda: b"\xff", environment=environment)


def test_no_such_token_or_key_names_those_that_are_there(token, tmp_path):
    _, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    with pytest.raises(Pkcs11Error, match="no such token") as refused:
        load_signer("pkcs11:token=absent;object=key", environment=token.environment)
    assert token.label in str(refused.value)
    with pytest.raises(Pkcs11Error, match="no such private key") as refused:
        load_signer(token.uri("other"), environment=token.environment)
    assert "object=key;id=03" in str(refused.value)
    with pytest.raises(Pkcs11Error, match="no such token"):
        load_signer(f"{uri};serial=0", environment=token.environment)


def test_two_keys_of_one_label_need_an_id(token, tmp_path):
    publics = []
    for identifier in ("0a", "0b"):
        path = tmp_path / f"{identifier}.pem"
        publics.append(generate_key(path, Algorithm.ECDSA_P256, passphrase=None))
        token.import_key(path, "same", identifier)
    with pytest.raises(Pkcs11Error, match="more than one private key"):
        load_signer(token.uri("same"), environment=token.environment)
    signer = load_signer(f"pkcs11:token={token.label};id=%0b", environment=token.environment)
    assert signer.public_key == publics[1]


def test_a_token_that_is_pulled_out_is_told_at_the_next_signature(token, tmp_path):
    _, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    signer = load_signer(uri, environment=token.environment)
    token.remove()
    with pytest.raises(Pkcs11Error, match="the token was removed"):
        signer.sign(b"m")


def test_a_key_that_cannot_sign_here_is_refused(token, tmp_path):
    import subprocess

    path = tmp_path / "p521.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521",  # noqa: S607 - the system's OpenSSL
         "-out", path],
        check=True,
        capture_output=True,
    )  # fmt: skip
    uri = token.import_key(path, "p521")
    with pytest.raises(Pkcs11Error, match="of a kind that is not used here"):
        load_signer(uri, environment=token.environment)
    small = tmp_path / "small.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",  # noqa: S607 - the system's OpenSSL
         "-out", small],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with pytest.raises(Pkcs11Error, match="RSA of 2048 bits"):
        load_signer(token.import_key(small, "small", "02"), environment=token.environment)


def test_a_module_that_is_missing_or_none_is_told(token, tmp_path):
    uri = token.uri("key")
    with pytest.raises(Pkcs11Error, match="no PKCS#11 module is named"):
        load_signer(uri, environment={})
    with pytest.raises(KeyFileError, match="relative path"):
        load_signer(uri, environment={"AMPFORGE_PKCS11_MODULE": "libsofthsm2.so"})
    with pytest.raises(Pkcs11Error, match="cannot be loaded"):
        load_signer(f"{uri}?module-path={tmp_path}/none.so", environment=token.environment)


def test_two_tokens_of_one_label_need_a_serial_number(token, tmp_path):
    _, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    other = make_token(token.label)
    with pytest.raises(Pkcs11Error, match="more than one token") as refused:
        load_signer(uri, environment=token.environment)
    assert "add serial=" in str(refused.value.hint)
    other.remove()


def test_a_public_key_that_is_missing_or_of_another_pair_is_found(token, tmp_path):
    import pkcs11
    from pkcs11 import Attribute, ObjectClass

    _, uri = moved_key(token, tmp_path, Algorithm.ECDSA_P256)
    stranger, _ = moved_key(token, tmp_path, Algorithm.ECDSA_P256, "stranger")
    (slot_token,) = pkcs11.lib(str(token.module)).get_tokens(token_label=token.label)
    session = slot_token.open(rw=True, user_pin=PIN)
    publics = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
    (public,) = session.get_objects({**publics, Attribute.LABEL: "key"})
    identifier = public[Attribute.ID]
    public.destroy()
    with pytest.raises(Pkcs11Error, match="does not hold the public key"):
        load_signer(uri, environment=token.environment)
    (other,) = session.get_objects({**publics, Attribute.LABEL: "stranger"})
    other[Attribute.ID] = identifier
    signer = load_signer(uri, environment=token.environment)
    assert signer.public_key == stranger
    with pytest.raises(Pkcs11Error, match="a signature that does not verify"):
        signer.sign(b"m")
    session.close()


def test_a_locked_or_unset_pin_and_a_missing_mechanism_are_told_in_words():
    pkcs11 = pytest.importorskip("pkcs11")
    from signing.pkcs11_token import describe_tries, translated

    for error, telling in (
        (pkcs11.MechanismInvalid, "does not have the mechanism"),
        (pkcs11.DeviceRemoved, "the token was removed"),
        (pkcs11.GeneralError, "the module refused"),
    ):
        with (
            pytest.raises(Pkcs11Error, match=telling),
            translated("a message cannot be signed", "token=t"),
        ):
            raise error
    flags = pkcs11.TokenFlag
    assert "locked now" in describe_tries(flags.USER_PIN_LOCKED)
    assert "one try is left" in describe_tries(flags.USER_PIN_FINAL_TRY | flags.USER_PIN_COUNT_LOW)
    assert "does not say" in describe_tries(flags(0))


@pytest.mark.parametrize("algorithm", sorted(MESSAGE_ALGORITHMS - {Algorithm.RSA_3072}))
@given(st.binary(max_size=110))
def test_arbitrary_bytes_are_a_point_or_refused(algorithm, content):
    pytest.importorskip("pkcs11")
    from signing.pkcs11_public_key import parse_ec_point

    for untrusted_bytes in (content, b"\x04" + content):
        with suppress(Pkcs11Error):
            assert parse_ec_point(untrusted_bytes, algorithm, where="t").algorithm is algorithm


@given(st.binary(max_size=400), st.binary(max_size=5))
def test_arbitrary_numbers_are_an_rsa_key_or_refused(modulus, exponent):
    pytest.importorskip("pkcs11")
    from signing.pkcs11_public_key import parse_rsa_numbers

    for size_bytes in (0, 384):
        for given_exponent in (exponent, b"\x01\x00\x01", b"\x00\x01\x00\x01"):
            with suppress(Pkcs11Error):
                key = parse_rsa_numbers(
                    modulus.rjust(size_bytes, b"\xff"), given_exponent, where="t"
                )
                assert key.algorithm is Algorithm.RSA_3072


def test_a_token_is_no_place_for_a_key_that_is_needed_in_memory(token):
    with pytest.raises(KeyFileError, match="cannot be used here"):
        load_software_signer(token.uri("key"))


def test_without_the_extra_the_hint_says_what_to_install(monkeypatch):
    for name in ("signing.pkcs11_signer", "signing.pkcs11_token", "signing.pkcs11_public_key"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(KeyFileError, match="not supported by this installation") as refused:
        load_signer("pkcs11:token=t;object=o", environment={})
    assert "ampforge[hsm]" in str(refused.value.hint)
