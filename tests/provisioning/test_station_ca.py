"""A factory whose CA's key lies in a hardware module, or in a file outside of the folder."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from provisioning.device_link import DeviceLink
from provisioning.errors import StationError
from provisioning.identity import install_identity
from provisioning.ledger_queries import list_serials
from provisioning.link_identity import CertificateReadRequest, CertificateReadResponse
from provisioning.serial_port import open_port
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from signing.errors import PassphraseError
from signing.key_files import generate_key
from signing.keys import Algorithm
from tests.provisioning.station_bench import (
    SEED,
    STATION,
    make_bench,
    open_bench,
    slot_configs,
    stop_before,
)
from tests.softhsm import make_token


def make_ca_in_token(folder):
    """Return token and URI of a CA key that was made in a file and imported."""
    token = make_token()
    path = folder / "ca.pem"
    generate_key(path, Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    uri = token.import_key(path, "ca")
    path.unlink()
    return token, uri


def openssl(*arguments):
    return subprocess.run(
        ["openssl", *map(str, arguments)],  # noqa: S607 - the system's OpenSSL
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_a_ca_in_a_token_certifies_two_boards_at_once_and_openssl_verifies_both(
    tmp_path, monkeypatch
):
    token, uri = make_ca_in_token(tmp_path)
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    make_bench(tmp_path, ca_uri=uri)
    assert not (tmp_path / STATION / "factory-ca.pem").exists()
    station = open_bench(tmp_path, ca_uri=uri)
    with SimulatedLine(tmp_path / "line", board_count=2, seed=SEED) as line:
        results = run_slots(station, slot_configs(line))
    assert all(result.report.is_passed for result in results), results
    certificates = [
        bytes.fromhex(str(chained.event.data["certificate"]))
        for serial in _serials(station)
        for chained in station.ledger.events(serial=serial)
        if (chained.event.step, chained.event.phase.value) == ("identity", "CONFIRM")
    ]
    station.close()
    assert len(set(certificates)) == 2
    openssl(
        *("x509", "-inform", "DER", "-in", tmp_path / STATION / "factory-ca.cert.der"),
        *("-out", tmp_path / "ca.crt"),
    )
    for number, der in enumerate(certificates):
        (tmp_path / f"{number}.der").write_bytes(der)
        pem = tmp_path / f"{number}.crt"
        openssl("x509", "-inform", "DER", "-in", tmp_path / f"{number}.der", "-out", pem)
        assert "OK" in openssl("verify", "-x509_strict", "-CAfile", tmp_path / "ca.crt", pem)


def test_the_certificate_of_a_job_is_kept_although_a_token_would_sign_another(
    tmp_path, monkeypatch
):
    token, uri = make_ca_in_token(tmp_path)
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    make_bench(tmp_path, ca_uri=uri)
    station = open_bench(tmp_path, ca_uri=uri)
    with SimulatedLine(tmp_path / "line", board_count=1, seed=SEED) as line:
        run_slots(station, slot_configs(line), **stop_before(Step.CALIBRATE))
        (serial,) = _serials(station)
        mac = line.slots[0].board.mac
        reservation = station.ledger.reserve(
            station.writer, mac=mac, prefix="AMP", model="FL1",
            bundle_digest=station.bundle.digest, again=False,
        )  # fmt: skip
        assert reservation.serial == serial
        port = open_port(line.slots[0].port_url, timeout_s=3)
        link = DeviceLink(port, where="slot 1")
        kept = []
        for job in (reservation.job, reservation.job, "another job"):
            install_identity(
                link,
                keys=station.keys,
                trust_bytes=station.trust_bytes,
                trust_version=station.trust.version,
                reservation=replace(reservation, job=job),
            )
            kept.append(link.request(CertificateReadRequest, CertificateReadResponse).cert)
        port.close()
    station.close()
    assert kept[0] == kept[1]
    assert kept[2] != kept[0]


def test_another_key_than_the_certificate_s_is_refused_before_the_first_board(tmp_path):
    make_bench(tmp_path)
    generate_key(tmp_path / "other.pem", Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    with pytest.raises(StationError, match="CA's key and certificate do not belong together"):
        open_bench(tmp_path, ca_uri=str(tmp_path / "other.pem"))


def test_a_token_is_never_tried_with_the_passphrase_of_the_station_s_files(tmp_path, monkeypatch):
    token, uri = make_ca_in_token(tmp_path)
    monkeypatch.setenv("AMPFORGE_PKCS11_MODULE", token.environment["AMPFORGE_PKCS11_MODULE"])
    with pytest.raises(PassphraseError, match="needs its PIN"):
        make_bench(tmp_path, ca_uri=uri)
    assert not (tmp_path / STATION).exists()


def _serials(station):
    return [record.serial for record in list_serials(station.ledger.database)]
