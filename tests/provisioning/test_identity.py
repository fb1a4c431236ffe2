"""A board proves who it is, or is not released."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioning.device_link import DeviceLink
from provisioning.errors import BoardRefusalError, IdentityError
from provisioning.esptool_flasher import EsptoolFlasher
from provisioning.identity import ExpectedIdentity, install_identity, verify_identity
from provisioning.ledger_values import UnitState
from provisioning.link_identity import (
    CHALLENGE_CONTENT_TYPE,
    CertificateReadRequest,
    CertificateReadResponse,
    ChallengeWriteRequest,
    ChallengeWriteResponse,
    IdentityWriteResponse,
)
from provisioning.link_key_storage import KeyStorageWriteRequest, KeyStorageWriteResponse
from provisioning.simulator.application import Application
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_trust import SEEN_NAME
from provisioning.station_values import Step
from signing.canonical_cbor import serialize_cbor
from signing.certificate_requests import create_csr
from signing.cose import sign_one
from signing.errors import CertificateError, RevokedKeyError, RollbackError, SigningError
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import build_trust, signer
from tests.provisioning.station_bench import (
    SEED,
    TRUST,
    make_bench,
    open_bench,
    outside,
    slot_configs,
)

NONCE = bytes(range(32))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A flashed board on an open port, with a number and no identity yet."""
    folder = tmp_path_factory.mktemp("bench")
    make_bench(folder)
    station = open_bench(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        url = line.slots[0].port_url
        port = station.open_port(url)
        flasher = EsptoolFlasher(port, where=url)
        chip = flasher.detect()
        flasher.write(station.bundle.flash_regions(), on_progress=lambda _done: None)
        link = DeviceLink(port, where=url)
        link.reset_board()
        link.wait_until_ready()
        link.request(KeyStorageWriteRequest, KeyStorageWriteResponse)
        reservation = station.ledger.reserve(
            station.writer, mac=chip.mac, prefix="AMP", model="FL1",
            bundle_digest=station.bundle.digest, again=False,
        )  # fmt: skip
        yield station, link, reservation
        port.close()
    station.close()


def expected(station, reservation, **changes):
    values = {
        "serial": reservation.serial, "mac": reservation.mac,
        "app_sha256": station.bundle.image.image_sha256, "trust": station.trust,
        "now": outside().now(),
    }  # fmt: skip
    return ExpectedIdentity(**(values | changes))


def install(station, link, reservation, **changes):
    arguments = {"trust_bytes": station.trust_bytes, "trust_version": station.trust.version}
    install_identity(link, keys=station.keys, reservation=reservation, **(arguments | changes))


def test_a_board_without_a_certificate_proves_nothing(bench):
    station, link, reservation = bench
    with pytest.raises(IdentityError, match="has no certificate"):
        verify_identity(link, expected=expected(station, reservation), nonce=NONCE)


def test_the_same_job_gives_the_same_certificate_and_a_fresh_proof(bench):
    station, link, reservation = bench
    install(station, link, reservation)
    first = verify_identity(link, expected=expected(station, reservation), nonce=NONCE)
    install(station, link, reservation)
    second = verify_identity(
        link, expected=expected(station, reservation), nonce=bytes(reversed(NONCE))
    )
    assert first.public_key == second.public_key
    assert first.serial_number == reservation.serial


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"serial": "AMPFL1260700009B"}, "for another unit"),
        ({"mac": bytes(6)}, "for another unit"),
        ({"app_sha256": bytes(32)}, "signed something else"),
    ],
)
def test_a_proof_of_something_else_is_refused(bench, changes, telling):
    station, link, reservation = bench
    install(station, link, reservation)
    with pytest.raises(IdentityError, match=telling):
        verify_identity(link, expected=expected(station, reservation, **changes), nonce=NONCE)


def test_a_certificate_of_another_factory_is_refused(bench, tmp_path):
    station, link, reservation = bench
    install(station, link, reservation)
    make_bench(tmp_path)
    other = open_bench(tmp_path)
    with pytest.raises(SigningError):
        verify_identity(
            link, expected=expected(station, reservation, trust=other.trust), nonce=NONCE
        )
    other.close()


def test_a_board_whose_key_was_revoked_proves_nothing(bench):
    station, link, reservation = bench
    install(station, link, reservation)
    proved = verify_identity(link, expected=expected(station, reservation), nonce=NONCE)
    revoking = replace(station.trust, revoked_key_ids=frozenset({proved.public_key.key_id}))
    with pytest.raises(RevokedKeyError):
        verify_identity(link, expected=expected(station, reservation, trust=revoking), nonce=NONCE)


def test_a_board_in_another_job_is_refused_by_its_request(bench):
    """The request names the job that the board was told; a certificate for another is not made."""
    station, link, reservation = bench
    with pytest.raises(SigningError, match="another MAC"):
        install(station, link, replace(reservation, mac=bytes(6)))


@pytest.fixture
def answering(bench, monkeypatch):
    """Has the board answer a request with what it is told."""
    _, link, _ = bench

    def restart():
        link.reset_board()
        link.wait_until_ready()

    def answer(name, response):
        monkeypatch.setattr(Application, name, lambda *_: response)
        restart()

    yield answer
    monkeypatch.undo()
    restart()


def certificate_of(link):
    return link.request(CertificateReadRequest, CertificateReadResponse).cert


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"job_id": "another job"}, "another job"),
        ({"mac": "02:00:00:00:00:01"}, "another MAC address"),
        ({"serial_number": "AMPFL1260700009B"}, "another serial number"),
    ],
)
def test_a_request_replayed_from_another_job_or_board_is_not_certified(
    bench, answering, changes, telling
):
    """Whole and signed, and recorded elsewhere: of another job, chip or unit."""
    station, link, reservation = bench
    install(station, link, reservation)
    before = certificate_of(link)
    names = {
        "serial_number": reservation.serial,
        "mac": reservation.mac.hex(":"),
        "job_id": reservation.job,
    }
    recorded = create_csr(SoftwareSigner.generate(Algorithm.ECDSA_P256), **(names | changes))
    answering("_identity", IdentityWriteResponse(csr=recorded))
    with pytest.raises(CertificateError, match=telling):
        install(station, link, reservation)
    assert certificate_of(link) == before


def test_a_request_of_this_job_with_another_key_gives_no_certificate_that_the_board_takes(
    bench, answering
):
    """Who knows serial, MAC and job asks in the board's name; the board has the last word."""
    station, link, reservation = bench
    install(station, link, reservation)
    before = certificate_of(link)
    stranger = create_csr(
        SoftwareSigner.generate(Algorithm.ECDSA_P256), serial_number=reservation.serial,
        mac=reservation.mac.hex(":"), job_id=reservation.job,
    )  # fmt: skip
    answering("_identity", IdentityWriteResponse(csr=stranger))
    with pytest.raises(BoardRefusalError, match="for another key"):
        install(station, link, reservation)
    assert certificate_of(link) == before


def test_a_proof_that_was_recorded_for_another_nonce_is_refused(bench, answering):
    station, link, reservation = bench
    install(station, link, reservation)
    recorded = link.request(ChallengeWriteRequest, ChallengeWriteResponse, nonce=NONCE)
    answering("_challenge", recorded)
    fresh = bytes(reversed(NONCE))
    with pytest.raises(IdentityError, match="signed something else"):
        verify_identity(link, expected=expected(station, reservation), nonce=fresh)


def test_a_proof_by_another_key_than_the_certified_one_is_refused(bench, answering):
    station, link, reservation = bench
    install(station, link, reservation)
    proof = serialize_cbor(
        {1: NONCE, 2: reservation.serial, 3: reservation.mac,
         4: station.bundle.image.image_sha256}
    )  # fmt: skip
    forged = sign_one(
        proof, SoftwareSigner.generate(Algorithm.ECDSA_P256), content_type=CHALLENGE_CONTENT_TYPE
    )
    answering("_challenge", ChallengeWriteResponse(sig=forged))
    with pytest.raises(SigningError):
        verify_identity(link, expected=expected(station, reservation), nonce=NONCE)


def test_a_board_with_a_newer_trust_record_is_failed_and_keeps_it(tmp_path):
    make_bench(tmp_path)
    ca_der = (tmp_path / "station" / "factory-ca.cert.der").read_bytes()
    current = (tmp_path / TRUST).read_bytes()
    newer = replace(build_trust(), factory_ca_der=ca_der, version=2)
    (tmp_path / TRUST).write_bytes(sign_trust_record(newer, [signer("root-1")]))
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        station = open_bench(tmp_path)
        (first,) = run_slots(station, slot_configs(line))
        assert first.report.is_passed
        station.close()
        (tmp_path / TRUST).write_bytes(current)
        with pytest.raises(RollbackError):  # this station has seen the newer one itself
            open_bench(tmp_path)
        (tmp_path / "station" / SEEN_NAME).unlink()  # as one that has not
        station = open_bench(tmp_path)
        (second,) = run_slots(station, slot_configs(line), again=True)
        station.close()
    assert (second.report.state, second.report.failed_step) == (UnitState.FAIL, Step.IDENTITY)
    assert "newer trust record" in second.report.reasons[0]
