"""The station burns eFuses after a PASS, through espefuse, and locks the board last."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.efuse_plan import parse_efuse_plan
from firmware_images.errors import EfusePlanError
from firmware_images.secure_boot import sign_image
from firmware_images.signature_sector import key_digest
from provisioning.efuse_preview import preview_efuses
from provisioning.errors import EfuseError, FlashError, LedgerError
from provisioning.ledger_queries import list_units
from provisioning.ledger_values import UnitState
from provisioning.simulator.faults import AnalogFault, FaultPlan
from provisioning.simulator.line import SimulatedLine
from provisioning.slots import run_slots
from provisioning.station_values import Step
from provisioning.unit_replay import replay_events
from signing.errors import SignatureError
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.espressif_tools import espefuse, summarise_efuses
from tests.firmware_images.release_parts import APP_1_4_0, build_inputs, build_parts, signer
from tests.firmware_images.test_esp_image import CODE, build_image
from tests.provisioning.station_bench import (
    BUNDLE,
    SEED,
    make_bench,
    open_bench,
    slot_configs,
)

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "efuses.md"
PLAN = """secure_boot_keys = ["first", "second"]
revoke_unused_digests = true
disable_jtag = true
download_mode = "{mode}"
user_data = "{{serial}}"
"""


@cache
def key(name):
    return SoftwareSigner.generate(Algorithm.RSA_3072)


def parse(text):
    return parse_efuse_plan(
        text.encode(), load_key=lambda name: key(name).public_key, where="efuses.toml"
    )


def plan(mode="secure"):
    return parse(PLAN.format(mode=mode))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    make_bench(folder)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return tmp_path


def run(folder, line, efuse_plan, **options):
    station = open_bench(folder, efuse_plan=efuse_plan)
    try:
        (result,) = run_slots(station, slot_configs(line), **options)
        events = [
            chained.event
            for unit in list_units(station.ledger.database)
            for chained in station.ledger.events(serial=unit.serial)
        ]
        return result, events
    finally:
        station.close()


def summary(board):
    fields = summarise_efuses(board.efuse_path)
    return {name: entry["value"] for name, entry in fields.items()}


def in_hexadecimal(content):
    return content.hex(" ")


def test_a_unit_that_passed_is_burned_as_planned_and_locked_last(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        result, events = run(folder, line, plan())
        assert result.error is None, result.error
        assert result.report.is_passed
        fuses = summary(board)
    digests = [key_digest(key(name).public_key) for name in ("first", "second")]
    assert fuses["BLOCK_KEY0"] == in_hexadecimal(digests[0])
    assert fuses["BLOCK_KEY1"] == in_hexadecimal(digests[1])
    assert [fuses[f"KEY_PURPOSE_{slot}"] for slot in range(3)] == [
        "SECURE_BOOT_DIGEST0", "SECURE_BOOT_DIGEST1", "USER",
    ]  # fmt: skip
    assert [fuses[f"SECURE_BOOT_KEY_REVOKE{slot}"] for slot in range(3)] == [False, False, True]
    assert fuses["BLOCK_USR_DATA"] == in_hexadecimal(result.report.serial.encode().ljust(32, b"\0"))
    assert (fuses["SOFT_DIS_JTAG"], fuses["DIS_PAD_JTAG"], fuses["DIS_USB_JTAG"]) == (7, True, True)
    assert fuses["ENABLE_SECURITY_DOWNLOAD"] is True
    assert fuses["SECURE_BOOT_EN"] is False
    steps = [(event.step, event.phase.value) for event in events]
    assert steps[-7:] == [
        ("efuses", "INTENT"), ("efuses", "CONFIRM"), ("lock", "INTENT"), ("lock", "CONFIRM"),
        ("recheck", "INTENT"), ("recheck", "CONFIRM"), ("final", "CONFIRM"),
    ]  # fmt: skip
    confirmed = {event.step: event.data for event in events if event.phase.value == "CONFIRM"}
    assert confirmed["lock"]["proof"] == "security flags"
    assert abs(confirmed["recheck"]["current"]["measured_na"] - 100_000) < 2_000
    assert_the_recheck_is_replayed(events)


def assert_the_recheck_is_replayed(events):
    """It says by which instrument and on which range; another figure differs, none is older."""
    (place,) = (
        number for number, event in enumerate(events)
        if (event.step, event.phase.value) == ("recheck", "CONFIRM")
    )  # fmt: skip
    data = json.loads(json.dumps(dict(events[place].data)))
    (point,) = data["result"]["points"]
    assert data["result"]["instrument"]["serial_number"]
    assert point["range_ua"] >= 100

    def replayed(changed):
        told = [*events[:place], replace(events[place], data=changed), *events[place + 1 :]]
        return [
            difference.path
            for result in replay_events(told, where="the unit")
            for difference in result.differences
        ]

    assert replayed(data) == []
    point["error_na"] += 1
    assert replayed(data) == ["points[0].error_na"]
    point["error_na"] -= 1
    data["current"]["measured_na"] += 1
    assert replayed(data) == ["current.measured_na"]
    old = {"key_id": data["key_id"], "current": data["current"]}
    assert replayed(old) == []  # as an older Ampforge wrote it


def test_equal_fuses_are_no_ops_and_an_open_board_is_not_burned_twice(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        espefuse(board.efuse_path, "burn-efuse", "DIS_PAD_JTAG", "1", "SOFT_DIS_JTAG", "7")
        first, _ = run(folder, line, plan("open"))
        assert first.report.is_passed
        content = board.efuse_path.read_bytes()
        second, again = run(folder, line, plan("open"), again=True)
        assert second.report.is_passed
        assert board.efuse_path.read_bytes() == content
    locked = [e.data["fields"] for e in again if (e.step, e.phase) == ("lock", "CONFIRM")]
    was_there = [{field["field"]: field["was_there"] for field in fields} for fields in locked]
    assert was_there[0]["DIS_PAD_JTAG"]
    assert not was_there[0]["DIS_USB_JTAG"]
    assert all(was_there[1].values())


@pytest.mark.parametrize(
    "burned",
    [
        ("burn-efuse", "SECURE_BOOT_KEY_REVOKE1", "1"),
        ("burn-efuse", "KEY_PURPOSE_0", "HMAC_UP"),
        ("write-protect-efuse", "DIS_PAD_JTAG"),
    ],
)
def test_a_contradiction_stops_the_job_before_anything_is_spent_on_the_board(folder, burned):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        espefuse(board.efuse_path, *burned)
        fuses, flash = board.efuse_path.read_bytes(), board.flash.read(0, 4 << 20)
        result, events = run(folder, line, plan())
        assert board.efuse_path.read_bytes() == fuses
        assert board.flash.read(0, 4 << 20) == flash
    assert isinstance(result.error, EfuseError)
    assert f"eFuse {burned[1]} contradicts the plan" in str(result.error)
    assert {event.step for event in events} == {"reserve"}


def changed_by(board, act):
    before = summary(board)
    result, events = act()
    after = summary(board)
    return {name for name in after if after[name] != before[name]}, result, events


def test_a_current_that_is_wrong_after_the_locks_fails_the_unit_with_its_reading(
    folder, monkeypatch
):
    """It was right before them; what it was then is on record, decides, and is judged again."""

    def lose_ledger(*_, **__):
        raise LedgerError("the ledger is lost")

    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        stage = line.slots[0].board.output
        truth = stage.truth

        def on_progress(progress):
            if progress.step is Step.RECHECK:
                stage.truth = replace(truth, gain=truth.gain * 1.05)

        with monkeypatch.context() as patch:
            patch.setattr("provisioning.ledger.Ledger.finish", lose_ledger)
            stopped, _ = run(folder, line, plan(), on_progress=on_progress)
            assert isinstance(stopped.error, LedgerError)
        # Right again, which changes nothing: it is not measured until it passes.
        stage.truth = truth
        result, events = run(folder, line, plan())
        assert result.error is None, result.error
        assert (result.report.state, result.report.failed_step) == (UnitState.FAIL, Step.RECHECK)
        assert "limit ±" in result.report.reasons[0]
    (told,) = (event.data for event in events if is_confirmed(event, Step.RECHECK))
    assert told["result"]["points"][0]["measured_na"] == told["current"]["measured_na"] > 104_000
    assert not any(one.differences for one in replay_events(events, where="the unit"))
    # Nobody calls it another verdict, or a pass, without a difference.
    (place,) = (n for n, event in enumerate(events) if is_confirmed(event, Step.FINAL))
    for changes in ({"reasons": []}, {"outcome": "pass", "failed_step": None, "reasons": []}):
        final = replace(events[place], data={**events[place].data, **changes})
        replayed = replay_events([*events[:place], final], where="the unit")
        assert [one.path for one in replayed[-1].differences]


def is_confirmed(event, step):
    return (event.step, event.phase.value) == (step.value, "CONFIRM")


OF_KEY_STORAGE = {"BLOCK_KEY4", "KEY_PURPOSE_4", "RD_DIS", "WR_DIS"}


def test_of_a_board_that_failed_nothing_is_burned_but_the_key_of_its_storage(folder):
    faults = {0: FaultPlan(analog=frozenset({AnalogFault.STUCK_BIT}))}
    with SimulatedLine(folder / "line", board_count=1, seed=SEED, faults=faults) as line:
        board = line.slots[0].board
        changed, result, _ = changed_by(board, lambda: run(folder, line, plan()))
        assert result.report.state is UnitState.FAIL
        assert changed == OF_KEY_STORAGE


def test_without_a_plan_nothing_is_burned_but_the_key_of_the_storage(folder):
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        changed, result, events = changed_by(board, lambda: run(folder, line, None))
        assert result.report.is_passed
        assert changed == OF_KEY_STORAGE
    assert not {"efuses", "lock", "recheck"} & {event.step for event in events}


def test_secure_boot_is_planned_only_for_a_release_that_would_boot(folder):
    planned = parse('secure_boot_keys = ["first"]\nenable_secure_boot = true\n')
    with pytest.raises(EfusePlanError, match="which the bundle does not have"):
        open_bench(folder, efuse_plan=planned)
    station = open_bench(folder)
    station.close()
    bundle = replace(station.bundle, bootloader=station.bundle.app)
    with pytest.raises(SignatureError, match="the image is not signed"):
        planned.check(bundle)
    signed = sign_image(bundle.app, [key("first")], where="app")
    foreign = sign_image(bundle.app, [key("second")], where="app")
    planned.check(replace(bundle, app=signed, bootloader=signed))
    with pytest.raises(EfusePlanError, match="no board would boot the bundle's bootloader"):
        planned.check(replace(bundle, app=signed, bootloader=foreign))


def test_a_plan_for_another_chip_than_the_release_s_is_refused_before_the_first_board(folder):
    text = b'user_data = "{serial}"\n'
    other = parse_efuse_plan(text, load_key=key, where="efuses.toml", chip="esp32s3")
    with pytest.raises(EfusePlanError, match="for another chip than the bundle's"):
        open_bench(folder, efuse_plan=other)


def test_a_preview_of_another_chip_is_refused(folder):
    text = b'user_data = "{serial}"\n'
    other = parse_efuse_plan(text, load_key=key, where="efuses.toml", chip="esp32c6")
    station = open_bench(folder)
    with (
        SimulatedLine(folder / "line", board_count=1, seed=SEED) as line,
        pytest.raises(FlashError, match="not the plan's chip"),
    ):
        preview_efuses(line.slots[0].port_url, other, station.ledger)
    station.close()


def write_signed_bundle(folder):
    app = sign_image(APP_1_4_0.read_bytes(), [key("first")], where="app")
    bootloader = sign_image(build_image(CODE), [key("first")], where="bootloader")
    inputs = build_inputs(replace(build_parts(), app=app), bootloader=bootloader)
    signed = sign_bundle(build_bundle(inputs), [signer("release-1"), signer("release-2-ed")])
    (folder / BUNDLE).write_bytes(signed)


def test_a_board_with_secure_boot_starts_the_signed_release_and_nothing_else(folder):
    write_signed_bundle(folder)
    planned = parse(PLAN.format(mode="secure") + "enable_secure_boot = true\n")
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        board = line.slots[0].board
        result, events = run(folder, line, planned)
        assert result.error is None, result.error
        assert result.report.is_passed, result.report.reasons
        assert summary(board)["SECURE_BOOT_EN"] is True
        table = board.running.table
        for name in ("ota_0", "bootloader"):
            at = 0 if name == "bootloader" else table.find(name).offset_bytes
            board.power_cycle()
            assert board.application is not None
            sector = board.flash.read(at, 4096)
            board.flash.write(at + 200, b"\0")
            board.power_cycle()
            assert board.application is None, f"a changed {name} does not start"
            board.flash.erase(at, 4096)
            board.flash.write(at, sector)
        app_at = table.find("ota_0").offset_bytes
        board.flash.erase(app_at, 32 * 4096)
        board.flash.write(app_at, APP_1_4_0.read_bytes())
        board.power_cycle()
        assert board.application is None, "an unsigned application does not start"
    (locked,) = [e.data for e in events if (e.step, e.phase.value) == ("lock", "CONFIRM")]
    assert locked["proof"] == "security flags"


def test_a_plan_is_known_by_what_it_burns():
    text = 'user_data = "{serial}"\n'
    lines = b"LOCK BLOCK_USR_DATA protected\nuser data {serial}\n"
    digest = hashlib.sha256(lines).hexdigest()
    assert parse(text).digest.hex() == parse("# a comment\n" + text).digest.hex() == digest
    assert f"alone is {digest}." in SPEC.read_text("utf-8")
    assert parse(text + "disable_jtag = true\n").digest.hex() != digest
