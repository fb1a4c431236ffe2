"""`ampforge key drill`: what a stolen key signs is refused by the real verifiers, role by role."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

import cli.drill_play
from cli.configuration import load_configuration
from cli.drill_command import ROLES, run_drill
from cli.drill_factory import play_secure_boot
from cli.drill_findings import Findings, Moment, Verdict
from cli.drill_play import begin_play
from cli.drill_steps import REAL_STEPS
from cli.drill_world import make_world
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from manifests.errors import RepositoryError, UpdateRefusedError
from signing.errors import CoseError, RevokedKeyError, RollbackError
from signing.roles import Role
from tests.manifests.world import NOW

# role -> (verifier, part of what was shown, what it does) that must be among the findings after.
AFTER = {
    "root": [
        ("device", "forged: a trust record", "refused"),
        ("python-tuf's client", "forged: a root", "refused"),
        ("bundle verify", "signed before", "accepted"),
    ],
    "policy": [
        ("bundle verify", "forged: a table", "refused"),
        ("device", "forged: a table", "refused"),
        ("bundle verify", "stolen key had signed before", "refused"),
    ],
    "release": [
        ("bundle verify", "forged", "refused"),
        ("device", "forged", "refused"),
        ("python-tuf's client", "forged", "refused"),
        ("bundle verify", "other release keys had signed before", "accepted"),
        ("bundle verify", "stolen key had signed before", "refused"),
    ],
    "secure-boot": [("board's boot ROM", "forged: an image", "refused")],
    "campaign": [
        ("device", "forged", "refused"),
        ("python-tuf's client", "forged", "refused"),
        ("device", "the assignment that the stolen key had signed before", "refused"),
        ("bundle verify", "signed before", "accepted"),
    ],
    "freshness": [("device", "forged", "refused"), ("bundle verify", "before", "accepted")],
    "timestamp": [("python-tuf's client", "forged", "refused")],
    "snapshot": [("python-tuf's client", "forged", "refused")],
    "station": [
        ("station, at service", "forged: a calibration record", "refused"),
        ("device", "calibrated before", "accepted"),
    ],
    "supervisor": [
        ("station, at service", "forged: an order", "refused"),
        ("bundle verify", "before", "accepted"),
    ],
    "factory-ca": [
        ("station, at service", "forged: the certificate", "refused"),
        ("device", "calibrated under the old CA", "refused"),
    ],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product") / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    # One mode of one level: judging tables is tested elsewhere, and takes most of a drill.
    path = folder / "waveforms.toml"
    head, *modes = path.read_text().split("[[mode]]")
    path.write_text(re.sub(r"levels_ua = \[.*\]", "levels_ua = [50]", f"{head}[[mode]]{modes[-1]}"))
    return folder


@pytest.fixture
def product(shared, monkeypatch):
    monkeypatch.chdir(shared)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    return shared


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("role", ROLES)
def test_the_drill_of_each_role_shows_what_its_recovery_does(product, role):
    before = contents(product)
    done = CliRunner().invoke(ampforge, ["key", "drill", role, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.output)
    assert document["schema"] == "ampforge.key-drill/1"
    assert (document["role"], document["passed"], document["wrong"]) == (role, True, 0)
    found = document["findings"]
    forged = {
        moment: [f for f in found if f["moment"] == moment and f["what"].startswith("forged")]
        for moment in ("before", "after")
    }
    assert {f["got"] for f in forged["before"]} == {"accepted"}, "a forgery that means something"
    assert {f["got"] for f in forged["after"]} == {"refused"}
    shown = {(f["verifier"], f["what"]) for f in forged["before"]}
    assert shown <= {(f["verifier"], f["what"]) for f in forged["after"]}
    for verifier, what, got in AFTER[role]:
        assert [
            f
            for f in found
            if f["moment"] == "after"
            and (f["verifier"], f["got"]) == (verifier, got)
            and what in f["what"]
        ], (verifier, what)
    assert len(document["steps"]) >= 4
    assert contents(product) == before, "a drill touches nothing of the product"


def test_a_verifier_that_accepts_what_it_must_refuse_fails_the_drill(product, monkeypatch):
    """Sabotage: the recovery leaves the stolen key in force, as somebody who forgot a step."""
    monkeypatch.setattr(cli.drill_play, "rotate_key", lambda record, *_, **__: record)
    monkeypatch.setattr(cli.drill_play, "verify_trust_record", lambda *_, **__: None)
    done = CliRunner().invoke(ampforge, ["key", "drill", "freshness"])
    assert done.exit_code == 3
    assert (
        "✗ device                accepted  forged: an answer that says it is an hour" in done.output
    )
    assert "expected: refused" in done.output
    assert "FAILED: 1 of 8" in done.output


def test_a_drill_prints_what_people_do_and_what_holds(product):
    done = CliRunner().invoke(ampforge, ["key", "drill", "station", "--verbose"])
    assert done.exit_code == 0, done.output
    assert "RevokedKeyError: the calibration record was signed by a revoked station" in done.output
    assert "in the real case\n  1. take the station off the line" in done.output
    assert done.output.endswith("passed: every verifier did what it must\n")


def test_every_role_of_the_design_has_steps_for_people():
    assert {str(role) for role in REAL_STEPS} == set(ROLES) == {str(role) for role in Role}


@pytest.mark.parametrize(
    ("refusal", "verdict"),
    [
        (RevokedKeyError("a key is revoked"), Verdict.REFUSED),
        (RollbackError("a record is old"), Verdict.OTHERWISE),
        (CoseError("a message is damaged"), Verdict.OTHERWISE),
        (RepositoryError("x", got="UnsignedMetadataError: targets"), Verdict.REFUSED),
        (RepositoryError("x", got="ExpiredMetadataError: targets"), Verdict.OTHERWISE),
        (UpdateRefusedError("the battery is low"), Verdict.OTHERWISE),
    ],
    ids=["revoked", "old", "damaged", "unsigned", "expired", "busy"],
)
def test_a_refusal_counts_only_when_it_is_about_the_key(refusal, verdict):
    def act():
        raise refusal

    findings = Findings()
    findings.refuses(Moment.AFTER, "x", "y", act)
    assert findings.found[0].got is verdict
    assert findings.are_right == (verdict is Verdict.REFUSED)


def test_a_drill_without_findings_has_not_passed():
    assert not Findings().are_right


def test_a_drill_works_before_there_is_a_trust_record(product, tmp_path):
    text = (product / "ampforge.toml").read_text().replace('"trust.cose"', '"none.cose"')
    path = product / "without-record.toml"
    path.write_text(text)
    try:
        (tmp_path / "scratch").mkdir()
        play = run_drill(load_configuration(path), folder=tmp_path / "scratch", role=Role.TIMESTAMP)
    finally:
        path.unlink()
    assert play.findings.are_right


def test_a_chip_that_holds_one_key_for_good_fails_its_drill(product, tmp_path):
    world = make_world(load_configuration(None), tmp_path, now=NOW)
    one_key = replace(world.product, chip="esp32")
    play = begin_play(world, Role.SECURE_BOOT)
    play.world = replace(world, product=one_key)
    play_secure_boot(play)
    assert not play.findings.are_right
    wrong = [finding for finding in play.findings.found if not finding.is_right]
    assert [(f.moment, f.got, f.what) for f in wrong] == [
        (Moment.AFTER, Verdict.ACCEPTED, "forged: an image")
    ]
