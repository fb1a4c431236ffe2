"""`ampforge repo export-suit | verify-suit`, and step, support and eFuse budget, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.failures import run_and_exit
from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from tests.firmware_images.release_parts import APP_1_5_0, with_secure_version

EXAMPLES = Path(__file__).parents[1] / "assets" / "suit"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A product with a published release, supported until 2035, and a second one's parts."""
    folder = tmp_path_factory.mktemp("product") / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    config = folder / "ampforge.toml"
    text = config.read_text()
    for line in ("# supported_until = ", "# secure_version_bits = "):
        assert line in text
        text = text.replace(line, line.removeprefix("# "))
    text = text.replace('"2031-12-31"', '"2035-12-31"')
    config.write_text(text.replace("secure_version_bits = 16", "secure_version_bits = 1"))
    (folder / "app-2.bin").write_bytes(with_secure_version(APP_1_5_0.read_bytes(), 2))
    for words in (
        "policy approve",
        "bundle build --sign",
        "repo init --insecure-test-keys",
        "repo publish " + str(folder / "build/flare-1.4.0.bundle.zip"),
    ):
        done = CliRunner().invoke(ampforge, [*words.split(), "--config", str(config)])
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert "secure_version 0 of 1; 1 left" in done.output
    assert "supported until 2035-12-31" in done.output
    return folder


@pytest.fixture
def run(product, capsys):
    def run(words, code=0):
        with pytest.raises(SystemExit) as ended:
            run_and_exit(ampforge, words.split())
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said
        return said.out + said.err

    return run


def without_suit(product):
    config = product / "ampforge.toml"
    before, after = config.read_text().split("[suit]")
    config.write_text(before + after[after.index("[") :])


def test_a_release_is_exported_and_verified(product, run):
    config = product / "ampforge.toml"
    config.write_text(config.read_text().replace("# base_url = ", "base_url = "))
    told = run("repo export-suit 1.4.0 --output out/flare.suit")
    assert "release 1.4.0, SUIT sequence number 1" in told
    assert "flare-c3, revision 1" in told
    told = run("repo verify-suit out/flare.suit")
    assert "verified: sequence number 1, signed by" in told
    assert "uri https://updates.flare.example/device/artifacts/" in told
    assert "condition-use-before 15" in told
    assert "use-before 2036-01-01 00:00:00 UTC" in told
    assert "component 0: 'app'\n  component 1: 'wave'" in told
    document = json.loads(run("repo verify-suit out/flare.suit --json"))
    assert document["schema"] == "ampforge.suit-envelope/1"
    assert (document["verified"], document["signatures"]) == (True, 2)
    assert run("key log show").count("  application/suit-envelope+cose  ") == 2
    artifacts = {path.name for path in (product / "repository/device/artifacts").iterdir()}
    digests = {
        entry["argument"]["image-digest"]["digest"]
        for entry in document["sequences"]["shared"]
        if entry["command"] == "directive-override-parameters"
        and "image-digest" in entry["argument"]
    }
    assert digests == artifacts


def test_withdrawing_a_step_names_the_releases_that_nothing_leads_to(product, run):
    config = product / "ampforge.toml"
    text = config.read_text().replace(
        "# minimum_current_counter = 0", "minimum_current_counter = 1"
    )
    text = text.replace("release_counter = 1 #", "release_counter = 2 #")
    config.write_text(text.replace("flare-1.4.0.bin", "flare-1.5.0.bin"))
    run("bundle build --sign")
    assert "others take 1.4.0 (counter 1) first" in run("repo publish build/flare-1.5.0.bundle.zip")
    run("repo export-suit 1.5.0 --output flare.suit")
    assert "version >= 1\n" in run("repo verify-suit flare.suit")
    assert "NOTHING LEADS" not in run("repo withdraw 1.5.0 --reason late")
    text = config.read_text().replace("release_counter = 2 #", "release_counter = 3 #")
    config.write_text(text)
    run("bundle build --sign --replace-signed")
    run("repo publish build/flare-1.5.0.bundle.zip")
    told = run("repo withdraw 1.4.0 --reason early")
    assert "NOTHING LEADS TO release 1.5.0 any more" in told
    assert "release counter below 1 cannot take it" in told


@pytest.mark.parametrize("words", ["repo export-suit 1.4.0", "bundle build", "trust sign"])
def test_no_output_takes_the_place_of_a_private_key(product, run, words):
    before = (product / "keys/release-1.pem").read_bytes()
    told = run(f"{words} --output keys/release-1.pem", code=2)
    assert "would take the place of a private key" in told
    assert (product / "keys/release-1.pem").read_bytes() == before


def test_an_envelope_of_another_maker_is_verified_with_its_key(product, run):
    example = EXAMPLES / "example3-signed.suit"
    told = run(f"repo verify-suit {example} --key {EXAMPLES / 'public_key.pem'}")
    assert "directive-try-each" in told
    assert "none of the keys signed" in run(f"repo verify-suit {example}", code=3)
    assert "NOT VERIFIED" in run(f"repo verify-suit {example} --unverified")
    both = f"repo verify-suit {example} --unverified --key {EXAMPLES / 'public_key.pem'}"
    assert "--key or --unverified" in run(both, code=2)
    (product / "wrong.suit").write_bytes(example.read_bytes()[:-1])
    assert "SUIT envelope is refused" in run("repo verify-suit wrong.suit --unverified", code=4)


@pytest.mark.parametrize(
    ("words", "telling", "code"),
    [
        ("1.4.0 --output a.suit", "vendor_domain", 2),
        ("1.4.0 --output a.suit --vendor-domain Flare", "domain cannot be read", 4),
        ("1.9.9 --output a.suit --vendor-domain a.bc", "is not published", 4),
        (
            "1.4.0 --output a.suit --vendor-domain a.bc --key keys/campaign.pem",
            "does not count for the release role",
            3,
        ),
        (
            "1.4.0 --output a.suit --vendor-domain a.bc --key keys/release-1.pem",
            "too few keys",
            3,
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    product, run, words, telling, code
):
    without_suit(product)
    log = (product / "sign-log.jsonl").read_bytes()
    assert telling in run(f"repo export-suit {words}", code=code)
    assert (product / "sign-log.jsonl").read_bytes() == log
    assert not (product / "a.suit").exists()


def test_a_withdrawn_release_is_exported_no_more(product, run):
    run("repo withdraw 1.4.0 --reason stops-early")
    told = run("repo export-suit 1.4.0 --output a.suit --vendor-domain a.bc", code=4)
    assert "was withdrawn" in told
    assert not (product / "a.suit").exists()


def test_step_support_and_budget_are_kept_to_from_build_to_publication(product, run):
    build = "bundle build --app firmware/images/flare-1.5.0.bin --release-counter 3 --sign"
    told = run(f"{build} --minimum-current-counter 3", code=5)
    assert "minimum_current_counter below release_counter 3" in told
    run(f"{build} --minimum-current-counter 2")
    told = run("bundle inspect build/flare-1.5.0.bundle.zip")
    assert "only for boards with release counter 2 or later" in told
    assert "supported until" in told
    told = run("repo publish build/flare-1.5.0.bundle.zip", code=4)
    assert "no published release leads to release 1.5.0" in told
    run(f"{build} --minimum-current-counter 1 --replace-signed")
    told = run("repo publish build/flare-1.5.0.bundle.zip")
    assert "others take 1.4.0 (counter 1) first" in told
    status = json.loads(run("repo status --json"))["releases"][-1]
    assert status["minimum_current_counter"] == 1
    assert status["support_ends_at"] == "2036-01-01T00:00:00+00:00"
    beyond = "bundle build --app app-2.bin --release-counter 4 --sign --spend-secure-version x"
    assert "at most 1, one eFuse bit each" in run(f"{beyond} --replace-signed", code=5)
    config = product / "ampforge.toml"
    text = config.read_text()
    config.write_text(text.replace("secure_version_bits = 1 ", "secure_version_bits = 20 "))
    assert "more eFuse bits than the esp32c3 has" in run("bundle secure-version status", code=5)
    config.write_text(text.replace('"2035-12-31"', '"2024-12-31"'))
    build = build.replace("counter 3", "counter 4")
    run(f"{build} --replace-signed")
    told = run("repo publish build/flare-1.5.0.bundle.zip", code=4)
    assert "support of release 1.5.0 has ended" in told
