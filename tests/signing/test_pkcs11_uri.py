"""Reading `pkcs11:` URIs (RFC 7512): what names a key, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import KeyFileError
from signing.pkcs11_uri import Pkcs11Uri, is_pkcs11_uri, parse_pkcs11_uri


def test_every_attribute_is_read_and_percent_decoded():
    uri = parse_pkcs11_uri(
        "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=5554c5629c146370;"
        "token=release%3bkeys;id=%01%ff;object=flare;type=private?module-path=/usr/lib/x.so"
    )
    assert uri == Pkcs11Uri(
        token="release;keys",
        serial="5554c5629c146370",
        manufacturer="SoftHSM project",
        model="SoftHSM v2",
        object_label="flare",
        object_id=b"\x01\xff",
        module_path=Path("/usr/lib/x.so"),
    )
    assert uri.describe_object() == "object=flare;id=01ff"
    assert uri.describe_token().startswith("token=release;keys;serial=5554")


def test_the_scheme_is_recognised_in_any_case():
    assert is_pkcs11_uri("PKCS11:token=a;object=b")
    assert not is_pkcs11_uri("keys/pkcs11:.pem")
    assert parse_pkcs11_uri("PKCS11:token=a;object=b").token == "a"


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:token=t;object=o?pin-value=81726354",
        "pkcs11:token=t;object=o;pin-value=81726354",
        "pkcs11:pin-value=81726354",
        "pkcs11:nonsense;token?module-path=relative&PIN-VALUE=81726354",
    ],
)
def test_a_pin_in_a_uri_is_refused_and_not_repeated(uri):
    with pytest.raises(KeyFileError, match="a PIN is never taken from a URI") as refused:
        parse_pkcs11_uri(uri)
    assert "81726354" not in str(refused.value) + str(refused.value.hint)
    assert "AMPFORGE_PKCS11_PIN" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("rest", "telling"),
    [
        ("", "which token"),
        ("object=o", "which token"),
        ("token=t", "which key"),
        ("token=t;object=o;object=p", "object twice"),
        ("token=t;object=", "a value for object"),
        ("token;object=o", "a value for token"),
        ("token=t;object=o;", "without ="),
        ("token=t;object=o;slot-id=3", "slot-id"),
        ("token=t;object=o;x-vendor=3", "x-vendor"),
        ("token=t;object=o?pin-source=file:/tmp/pin", "pin-source"),
        ("token=t;object=o?module-name=softhsm2", "module-name"),
        ("token=t;object=o?module-path=softhsm2.so", "absolute path"),
        ("token=t;object=o;type=cert", "type=private"),
        ("token=t;object=%f", "hexadecimal digits"),
        ("token=t;object=%zz", "hexadecimal digits"),
        ("token=%ff;object=o", "UTF-8"),
        ("token=t;object=\udcff", "UTF-8"),
        ("token=t;object=" + "o" * 2000, "at most 1024"),
    ],
)
def test_a_uri_that_does_not_name_one_key_is_refused(rest, telling):
    with pytest.raises(KeyFileError) as refused:
        parse_pkcs11_uri("pkcs11:" + rest)
    assert telling in str(refused.value)


@given(st.text(max_size=60))
def test_arbitrary_text_is_read_or_refused(text):
    with suppress(KeyFileError):
        parse_pkcs11_uri("pkcs11:" + text)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.binary(min_size=1, max_size=20),
)
def test_round_trip_of_any_label_and_identifier(label, identifier):
    encoded = "".join(f"%{byte:02x}" for byte in identifier)
    uri = parse_pkcs11_uri(f"pkcs11:token={quote(label, safe='')};id={encoded}")
    assert (uri.token, uri.object_id) == (label, identifier)
