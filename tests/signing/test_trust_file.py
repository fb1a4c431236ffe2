from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from signing.errors import CertificateError, SigningError, TrustError
from signing.roles import Role, RoleKeys
from signing.trust import sign_trust_record
from signing.trust_file import load_trust_record, next_trust_record, save_trust_record
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


def test_two_people_who_sign_at_the_same_time_do_not_write_one_version_twice(tmp_path):
    path = tmp_path / "trust.cose"
    first = next_trust_record(None, product="flare", roles=ROLES)
    save_trust_record(path, sign_trust_record(first, ROOTS), current=None)
    mine, theirs = (
        next_trust_record(first, product="flare", roles=ROLES, minimum_policy_version=version)
        for version in (2, 3)
    )
    save_trust_record(path, sign_trust_record(mine, ROOTS), current=first)
    before = path.read_bytes()
    with pytest.raises(TrustError, match="saved meanwhile") as caught:
        save_trust_record(path, sign_trust_record(theirs, ROOTS), current=first)
    assert (caught.value.expected, caught.value.got) == ("version 1", "another one, version 2")
    assert path.read_bytes() == before
    assert load_trust_record(path) == mine


def test_a_first_record_does_not_take_the_place_of_one_that_came_meanwhile(tmp_path):
    path = tmp_path / "trust.cose"
    record = next_trust_record(None, product="flare", roles=ROLES)
    save_trust_record(path, sign_trust_record(record, ROOTS), current=None)
    before = path.read_bytes()
    with pytest.raises(TrustError, match="saved meanwhile"):
        save_trust_record(path, sign_trust_record(record, ROOTS), current=None)
    assert path.read_bytes() == before


def test_a_record_with_a_lower_minimum_policy_version_is_not_saved(tmp_path):
    path = tmp_path / "trust.cose"
    first = next_trust_record(None, product="flare", roles=ROLES, minimum_policy_version=4)
    save_trust_record(path, sign_trust_record(first, ROOTS), current=None)
    before = path.read_bytes()
    lower = next_trust_record(first, product="flare", roles=ROLES, minimum_policy_version=3)
    with pytest.raises(SigningError, match="accept older limits policies again"):
        save_trust_record(path, sign_trust_record(lower, ROOTS), current=first)
    assert path.read_bytes() == before


def test_many_runs_at_once_leave_one_record_and_the_others_are_told(tmp_path):
    path = tmp_path / "trust.cose"
    start = Barrier(6)

    def sign(version):
        record = next_trust_record(
            None, product="flare", roles=ROLES, minimum_policy_version=version
        )
        signed = sign_trust_record(record, ROOTS)
        start.wait()
        try:
            save_trust_record(path, signed, current=None)
        except TrustError:
            return None
        return record

    with ThreadPoolExecutor(6) as pool:
        saved = [record for record in pool.map(sign, range(6)) if record is not None]
    assert saved == [load_trust_record(path)]
