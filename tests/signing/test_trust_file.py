from __future__ import annotations

from pathlib import Path

import pytest

from signing.errors import CertificateError, SigningError, TrustError
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record
from signing.trust_file import load_trust_record, next_trust_record
from tests.signing.fixed_keys import fixed_signer

ROOTS = [fixed_signer("root-1"), fixed_signer("root-2")]
CA_DER, STATION_DER = (
    (Path(__file__).parents[1] / "golden" / "signing" / name).read_bytes()
    for name in ("factory-ca.der", "station.der")
)
ROLES = {Role.ROOT: RoleKeys(threshold=1, keys=tuple(root.public_key for root in ROOTS))}


def test_the_first_record_has_version_one_and_the_next_keeps_what_is_not_given():
    first = next_trust_record(None, product="flare", roles=ROLES)
    assert (first.version, first.minimum_policy_version, first.factory_ca_der) == (1, 0, b"")
    second = next_trust_record(
        first, product="flare", roles=ROLES, minimum_policy_version=4, factory_ca_der=CA_DER
    )
    third = next_trust_record(second, product="flare", roles=ROLES)
    assert (third.version, third.minimum_policy_version, third.factory_ca_der) == (3, 4, CA_DER)


@pytest.mark.parametrize(
    ("der", "message"),
    [
        (b"", "impossible length"),
        (bytes(5000), "impossible length"),
        (b"-----BEGIN PRIVATE KEY-----", "cannot be read"),
        (STATION_DER, "not a CA's"),
    ],
)
def test_what_is_no_certificate_of_a_ca_never_gets_into_a_record(der, message):
    with pytest.raises(CertificateError, match=message) as refused:
        next_trust_record(None, product="flare", roles=ROLES, factory_ca_der=der)
    assert refused.value.hint


def test_a_record_is_loaded_from_its_file(tmp_path):
    record = next_trust_record(None, product="flare", roles=ROLES)
    path = tmp_path / "trust.cose"
    path.write_bytes(sign_trust_record(record, ROOTS[:1]))
    assert load_trust_record(path) == record
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(SigningError):
        load_trust_record(path)


def test_a_missing_or_far_too_long_file_is_named(tmp_path):
    with pytest.raises(TrustError, match=r"cannot be read: got No such file.*trust\.cose"):
        load_trust_record(tmp_path / "trust.cose")
    (tmp_path / "trust.cose").write_bytes(bytes(70_000))
    with pytest.raises(TrustError, match="too long"):
        load_trust_record(tmp_path / "trust.cose")
