"""`repo`, `campaign`, `serve` and `device` from the command line, on simulated boards."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import closing
from urllib.error import URLError

import pytest

from cli.board_update import make_update_session
from cli.demo_release import make_product
from cli.device_commands import load_update_rules
from cli.main import ampforge
from cli.serve_commands import load_server_plan
from firmware_images.bundle import verify_bundle
from firmware_images.device_record import DeviceRecord, IdentityRecord
from firmware_images.partitions import parse_partition_table
from manifests.fleet import FleetStore
from manifests.server import serve_in_background
from provisioning.simulator.board import SimulatedBoard
from provisioning.simulator.faults import FaultPlan
from provisioning.simulator.line import SimulatedLine
from signing.key_uris import load_signer
from signing.keys import Algorithm
from signing.refusal import Refusal
from signing.signers import SoftwareSigner

SEED = 11


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    from rich.console import Console

    return make_product(tmp_path_factory.mktemp("product"), Console(quiet=True))


@pytest.fixture(scope="module")
def run(product):
    def run(*arguments):
        """Run a command; its JSON, or the refusal that a user would be shown."""
        import click.testing

        outcome = click.testing.CliRunner().invoke(ampforge, [*arguments, "--json"])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    return run


@pytest.fixture(scope="module")
def config(product):
    return ["--config", str(product.configuration.path)]


@pytest.fixture(scope="module")
def repository(product, run, config):
    run("repo", "init", "--insecure-test-keys", *config)
    run("repo", "publish", str(product.bundle_path("1.4.0")), *config)
    return run("repo", "publish", str(product.bundle_path("1.5.0")), *config)


@pytest.fixture(scope="module")
def url(product, repository):
    plan = load_server_plan(
        product.configuration, host=None, port=None, passphrase=lambda _key: b""
    )
    from dataclasses import replace

    with serve_in_background(replace(plan, port=0)) as url:
        yield url


def finish_board(product, board):
    """What a station leaves on a board, written straight into its flash."""
    from datetime import timedelta

    from signing.certificate_issuing import issue_certificate, issue_station_certificate
    from signing.certificate_requests import create_csr
    from tests.manifests.world import NOW

    trust = product.load_trust()
    ca = load_signer(str(product.station_folder / "factory-ca.pem"))
    bundle = verify_bundle(product.bundle_path("1.4.0").read_bytes(), trust)
    for region in bundle.flash_regions():
        board.flash.write(region.offset_bytes, region.content)
    table = parse_partition_table(bundle.partition_table_bytes)
    record = DeviceRecord(board.flash, table.find("devrec"))
    key = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    serial, job = f"FL26A00000{board.index}", "job-1"
    csr = create_csr(key, serial_number=serial, mac=board.mac.hex(":"), job_id=job)
    certificate = issue_certificate(
        ca,
        trust.factory_ca_der,
        csr,
        expected_serial_number=serial,
        expected_mac=board.mac.hex(":"),
        expected_job_id=job,
        not_before=NOW - timedelta(hours=1),
    )
    record.save_identity(
        IdentityRecord(
            serial=serial,
            mac=board.mac,
            job_id=job,
            private_key_der=key.to_pkcs8_der(),
            certificate_der=certificate,
            confirmed=True,
        )
    )
    record.trust.save(product.trust_path.read_bytes())
    station = SoftwareSigner.generate(Algorithm.ECDSA_P256)
    station_certificate = issue_station_certificate(
        ca,
        trust.factory_ca_der,
        station.public_key,
        station_name="test station",
        not_before=NOW - timedelta(hours=1),
    )
    record.calibration.save(_calibration(board, serial, job, station, station_certificate))
    board.power_cycle()


def _calibration(board, serial, job, station, certificate):
    from firmware_images.calibration_record import CalibrationRecord, sign_calibration_record
    from tests.manifests.world import NOW

    record = CalibrationRecord(
        serial=serial,
        mac=board.mac,
        job_id=job,
        generation=1,
        full_scale_na=1_000_000,
        dac_bits=12,
        gain_ppm=1_001_000,
        offset_na=1000,
        reference_load_ohm=5000,
        output_impedance_ohm=1_000_000,
        verified_min_na=-410_000,
        verified_max_na=410_000,
        verified_load_min_ohm=500,
        verified_load_max_ohm=10_000,
        temperature_centi_c=2300,
        instrument="AMPFORGE,SIM,1,1",
        fit_digest=bytes(32),
        created_at=NOW,
    )
    return sign_calibration_record(record, station, certificate)


def test_a_published_release_is_described(repository):
    assert (repository["version"], repository["release_counter"]) == ("1.5.0", 2)
    assert repository["assignment_sequence"] == 2


def test_status_and_renew_say_what_holds_until_when(run, config, repository):
    status = run("repo", "status", *config)
    assert [release["version"] for release in status["releases"]] == ["1.4.0", "1.5.0"]
    renewed = run("repo", "renew", *config)
    assert renewed["timestamp_version"] > 3
    import click.testing

    text = click.testing.CliRunner().invoke(ampforge, ["repo", "status", *config]).stdout
    assert "1.5.0 to 100 % of the devices" in text


def test_a_share_and_pins_are_told_in_words(run, config, product, repository):
    import click.testing

    invoke = click.testing.CliRunner().invoke
    bundle = str(product.bundle_path("1.5.0"))
    text = invoke(ampforge, ["repo", "publish", bundle, "--percent", "5", *config]).stdout
    assert "assigned release 1.5.0 (counter 2), for 5 % of the flare-c3 devices" in text
    pilot = ["campaign", "create", "--release", "1.5.0", "--name", "pilot", "--percent", "0"]
    text = invoke(ampforge, [*pilot, "--pin", "FL26A000017", *config]).stdout
    assert "0 % of the flare-c3 devices and FL26A000017" in text
    pinned = [*pilot[:-2], "--pin", "FL26A000017", *config]
    assert "0 % of the flare-c3 devices and FL26A000017" in invoke(ampforge, pinned).stdout
    assert "HALTED" in invoke(ampforge, [*pilot, "--halt", *config]).stdout
    with pytest.raises(Refusal, match="a campaign cannot have this name"):
        run("campaign", "create", "--release", "1.5.0", "--name", "n" * 49, *config)
    run("campaign", "create", "--release", "1.5.0", "--name", "all", *config)


def test_test_keys_need_to_be_allowed(product, config, tmp_path):
    import click.testing

    document = product.configuration.path.read_text().replace('"repository"', '"other"')
    other = product.root / "other.toml"
    other.write_text(document)
    outcome = click.testing.CliRunner().invoke(ampforge, ["repo", "init", "--config", str(other)])
    other.unlink()
    assert "test keys must not publish" in str(outcome.exception)


def test_a_simulated_board_updates_itself_and_reports(product, run, config, url, tmp_path):
    folder = tmp_path / "board-1"
    from datetime import UTC, datetime

    with closing(SimulatedBoard(folder, SEED, 0, now=lambda: datetime.now(UTC))) as board:
        finish_board(product, board)
    before = run("device", "info", "--board", str(folder))
    assert (before["version"], before["release_counter"]) == ("1.4.0", 0)
    updated = run("device", "update", "--board", str(folder), "--url", url, *config)
    assert (updated["result"], updated["version_after"]) == ("installed", "1.5.0")
    assert not updated["is_report_due"]
    after = run("device", "info", "--board", str(folder))
    assert (after["slot"], after["ota_state"], after["release_counter"]) == (1, "valid", 2)
    again = run("device", "update", "--board", str(folder), "--url", url, *config)
    assert again["result"] == "up to date"
    with closing(FleetStore(product.root / "reports.sqlite")) as fleet:
        assert [r.report.app_sha256.hex() for r in fleet.list_reports("FL26A000000")] == [
            after["app_sha256"]
        ]
    # An older release, assigned by the true campaign key, is still refused; nothing changes.
    run("campaign", "create", "--release", "1.4.0", "--name", "replay", *config)
    flash = (folder / "flash.bin").read_bytes()
    with pytest.raises(Refusal, match="older than what the device has"):
        run("device", "update", "--board", str(folder), "--url", url, *config)
    assert (folder / "flash.bin").read_bytes() == flash
    run("campaign", "create", "--release", "1.5.0", "--name", "all", *config)


def test_a_board_without_a_network_updates_through_a_gateway(product, run, config, url, tmp_path):
    with SimulatedLine(
        tmp_path / "line", board_count=1, seed=SEED, update_session_factory=make_update_session
    ) as line:
        (slot,) = line.slots
        finish_board(product, slot.board)
        arguments = ["--gateway", "--port", slot.port_url, "--url", url]
        cache = ["--cache", str(tmp_path / "cache")]
        updated = run("device", "update", *arguments, *cache, *config)
        assert (updated["result"], updated["version_before"]) == ("installed", "1.4.0")
        assert updated["version_after"] == "1.5.0"
        info = run("device", "info", "--port", slot.port_url)
        assert (info["ver"], info["slot"], info["otastate"]) == ("1.5.0", 1, "valid")
        assert run("device", "update", *arguments, *cache, *config)["result"] == "up to date"
        run("campaign", "create", "--release", "1.4.0", "--name", "replay", *config)
        with pytest.raises(Refusal, match="refused the update") as refused:
            run("device", "update", *arguments, *cache, *config)
        assert "older than what the device has" in refused.value.got
        run("campaign", "create", "--release", "1.5.0", "--name", "all", *config)


def test_a_release_that_fails_its_self_test_leaves_the_old_one_running(
    product, run, config, url, tmp_path
):
    with SimulatedLine(
        tmp_path / "line",
        board_count=1,
        seed=SEED + 1,
        update_session_factory=make_update_session,
        faults={0: FaultPlan(failing_self_tests=frozenset({"1.5.0"}))},
    ) as line:
        (slot,) = line.slots
        finish_board(product, slot.board)
        arguments = ["--gateway", "--port", slot.port_url, "--url", url]
        cache = ["--cache", str(tmp_path / "cache")]
        with pytest.raises(Refusal, match="refused the update") as refused:
            run("device", "update", *arguments, *cache, *config)
        assert "tried this release before" in refused.value.got
        assert run("device", "info", "--port", slot.port_url)["ver"] == "1.4.0"


def test_a_release_below_the_chip_s_burned_secure_version_is_refused(
    product, run, config, url, tmp_path
):
    """The bootloader would refuse to start it; the board does not install it in the first place."""
    from datetime import UTC, datetime

    folder = tmp_path / "board-1"
    with closing(SimulatedBoard(folder, SEED, 4, now=lambda: datetime.now(UTC))) as board:
        finish_board(product, board)
        fuses = bytearray(board.efuse_path.read_bytes())
        word = len(fuses) - (0x2C + 16) - 4
        fuses[word : word + 4] = (1 << 14).to_bytes(4, "big")
        board.efuse_path.write_bytes(fuses)
    flash = (folder / "flash.bin").read_bytes()
    with pytest.raises(Refusal, match="its secure version would go back"):
        run("device", "update", "--board", str(folder), "--url", url, *config)
    assert (folder / "flash.bin").read_bytes() == flash


@pytest.mark.parametrize(
    "arguments",
    [
        ["device", "update", "--url", "http://127.0.0.1:9"],
        ["device", "update", "--url", "http://127.0.0.1:9", "--gateway"],
        ["device", "info"],
    ],
)
def test_an_unclear_board_is_a_usage_error(run, arguments):
    with pytest.raises(Refusal, match="board"):
        run(*arguments)


def test_a_folder_that_is_no_board_and_a_blank_board_are_refused(run, tmp_path):
    for content, got in ((None, "No such file"), ("{}", "another board.json"), ("[" * 4000, "oth")):
        if content is not None:
            (tmp_path / "board.json").write_text(content)
        with pytest.raises(Refusal, match="not that of a simulated board") as refused:
            run("device", "info", "--board", str(tmp_path))
        assert got in refused.value.got
        assert "Error" not in refused.value.got
    from datetime import UTC, datetime

    SimulatedBoard(tmp_path / "blank", SEED, 5, now=lambda: datetime.now(UTC)).close()
    with pytest.raises(Refusal, match="does not run its application"):
        run("device", "info", "--board", str(tmp_path / "blank"))


def test_a_gateway_without_a_root_is_refused(run, product, tmp_path):
    other = product.root / "elsewhere.toml"
    other.write_text(product.configuration.path.read_text().replace('"repository"', '"none"'))
    with pytest.raises(Refusal, match="no TUF root"):
        run(
            *("device", "update", "--gateway", "--port", "rfc2217://127.0.0.1:9"),
            *("--url", "http://127.0.0.1:9", "--config", str(other)),
        )
    other.unlink()


def test_a_gateway_without_a_product_folder_is_told_of_the_root(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    gateway = ("device", "update", "--gateway", "--port", "rfc2217://127.0.0.1:9")
    with pytest.raises(Refusal, match="no TUF root") as refused:
        run(*gateway, "--url", "http://127.0.0.1:9")
    assert "--root FILE" in str(refused.value.expected)
    assert not (tmp_path / ".ampforge-gateway").exists()


def test_the_rules_of_an_update_come_from_the_named_configuration(tmp_path, monkeypatch):
    """A board's battery is judged by AMPFORGE_CONFIG, too, where no file lies in the folder."""
    monkeypatch.chdir(tmp_path)
    named = tmp_path / "elsewhere.toml"
    named.write_text("[update]\nminimum_battery_percent = 77\n")
    monkeypatch.setenv("AMPFORGE_CONFIG", str(named))
    assert load_update_rules(None, allows_reinstall=False).minimum_battery_percent == 77


def test_a_root_that_is_none_is_told_of_the_file_and_not_of_the_server(run, tmp_path):
    (tmp_path / "root.json").write_text("{}")
    with pytest.raises(Refusal, match="the trusted TUF root cannot be used") as refused:
        run(
            *("device", "update", "--gateway", "--port", "rfc2217://127.0.0.1:9"),
            *("--url", "http://127.0.0.1:9", "--root", str(tmp_path / "root.json")),
            *("--cache", str(tmp_path / "cache")),
        )
    assert "Error" not in refused.value.got
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_serve_serves_until_it_is_interrupted(product, repository, config):
    from signal import SIGINT

    command = ["-c", "from cli.main import main; main()", "serve", "--port", "18471", "--json"]
    server = subprocess.Popen(
        [sys.executable, *command, *config],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        printed = ""
        while "}" not in printed:
            printed += server.stdout.readline()
        address = json.loads(printed)["url"]
        status = None
        for _ in range(2000):
            try:
                status = urllib.request.urlopen(f"{address}/api/health").status  # noqa: S310
                break
            except URLError:
                if server.poll() is not None:
                    break
        assert status == 200
    finally:
        server.send_signal(SIGINT)
        code = server.wait(20)
    assert code in (0, 130)
