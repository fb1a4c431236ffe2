"""`ampforge bundle`: from the example product's files to a verified release, as people do it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import ampforge
from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive, serialize_archive
from signing.key_encryption import encrypt_pkcs8_der, serialize_pem
from signing.key_uris import load_software_signer
from signing.trust_file import load_trust_record
from tests.firmware_images.release_parts import FOREIGN_APP

BUNDLE = "build/flare-1.4.0.bundle.zip"
SIGNED = "build/signed.zip"


@pytest.fixture(scope="module")
def prepared(approved_example, tmp_path_factory) -> Path:
    """The example product with keys, an approval and a signed bundle beside an unsigned one."""
    folder = shutil.copytree(approved_example, tmp_path_factory.mktemp("product") / "flare")
    config = ["--config", str(folder / "ampforge.toml")]
    for arguments in (
        ["bundle", "build"],
        ["bundle", "sign", str(folder / BUNDLE), "--output", str(folder / SIGNED)],
    ):
        assert CliRunner().invoke(ampforge, [*arguments, *config]).exit_code == 0
    return folder


@pytest.fixture
def approved(in_a_copy, prepared) -> Path:
    return in_a_copy(prepared)


@pytest.fixture
def product(approved) -> Path:
    """The same, before anything was approved or built."""
    shutil.rmtree(approved / "build")
    return approved


def test_the_example_product_becomes_a_signed_release(approved, run):
    assert "not signed yet" in run("bundle", "build")
    signed = run("bundle", "sign", BUNDLE, "--key", "keys/release-3.pem")
    assert "1 of 2 release signatures that are needed" in signed
    assert "another release engineer" in signed
    document = json.loads(run("bundle", "sign", BUNDLE, "--key", "keys/release-1.pem", "--json"))
    assert (document["release_signatures"], document["release_threshold"]) == (2, 2)
    verified = run("bundle", "verify", BUNDLE)
    assert "verified: flare 1.4.0, release counter 1" in verified
    assert "2 of 2 needed" in verified
    assert "LIFT, TIGHTEN, INFUSE under policy version 1" in verified


def test_the_configured_keys_sign_together(approved, run):
    assert "with 2 keys" in run("bundle", "sign", BUNDLE)
    document = json.loads(run("bundle", "verify", BUNDLE, "--json"))
    assert document["schema"] == "ampforge.bundle-verification/1"
    assert document["verified"] is True
    assert len(document["signed_by"]) == 2
    assert [region["name"] for region in document["flash_regions"]] == [
        *("partition-table", "otadata", "ota_0", "wave_0")
    ]


def test_each_passphrase_is_asked_for_by_the_name_of_its_key(approved):
    for name in ("release-1", "release-2"):
        path = approved / "keys" / f"{name}.pem"
        der = load_software_signer(str(path)).to_pkcs8_der()
        encrypted = encrypt_pkcs8_der(
            der, name.encode(), salt=bytes(16), initialisation_vector=bytes(16)
        )
        path.write_bytes(serialize_pem("ENCRYPTED PRIVATE KEY", encrypted))
    signed = CliRunner().invoke(
        ampforge, ["bundle", "sign", BUNDLE], input="release-1\nrelease-2\n"
    )
    assert signed.exit_code == 0, signed.output
    prompts = [line for line in signed.stderr.splitlines() if line.startswith("Passphrase")]
    assert [prompt.rpartition(", ")[2].strip() for prompt in prompts] == [
        *("keys/release-1.pem:", "keys/release-2.pem:")
    ]


def test_the_only_bundle_needs_no_name_and_of_two_one_must_be_named(approved, run):
    (approved / SIGNED).rename(approved / "build" / "aside")  # not named as `bundle build` names
    assert f"signed {approved / BUNDLE} with 2 keys" in run("bundle", "sign")
    assert run("bundle", "verify") == run("bundle", "verify", BUNDLE)
    assert json.loads(run("bundle", "inspect", "--json"))["version"] == "1.4.0"
    assert "factory.bin" in run("image", "merge", "-o", "factory.bin")
    shutil.copy(approved / BUNDLE, approved / "build" / "flare-1.3.0.bundle.zip")
    before = (approved / BUNDLE).read_bytes()
    for command in (
        ("bundle", "sign"),
        ("bundle", "verify"),
        ("bundle", "inspect"),
        ("image", "merge", "-o", "other.bin"),
    ):
        message = run(*command, code=2)
        assert "it is not clear which bundle is meant" in message
        assert "flare-1.3.0.bundle.zip, flare-1.4.0.bundle.zip" in message
    assert (approved / BUNDLE).read_bytes() == before
    assert not (approved / "other.bin").exists()


def test_building_twice_from_two_folders_gives_the_same_bytes(approved, run, tmp_path):
    run("bundle", "build", "--output", tmp_path / "one.zip")
    other = tmp_path / "another place"
    shutil.copytree(approved, other)
    run("bundle", "build", "--config", other / "ampforge.toml", "--output", tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_second_release_needs_two_options(approved, run):
    built = run(
        *("bundle", "build", "--app", "firmware/images/flare-1.5.0.bin"),
        *("--release-counter", 2, "--json"),
    )
    document = json.loads(built)
    assert (document["version"], document["release_counter"]) == ("1.5.0", 2)
    assert document["path"].endswith("flare-1.5.0.bundle.zip")


def test_any_other_app_is_built_and_signed_like_the_products_own(approved, run):
    document = json.loads(run("bundle", "build", "--app", FOREIGN_APP, "--json"))
    assert document["app"]["project_name"] == "hello_world"
    run("bundle", "sign", document["path"])
    assert "hello_world" in run("bundle", "verify", document["path"])


def test_a_bootloader_in_its_place_is_carried(approved, run):
    shutil.copy(FOREIGN_APP, approved / "bootloader" / "bootloader.bin")
    message = run("bundle", "build", code=5)
    assert "reach into the partition table" in message


def test_without_an_approval_the_command_to_run_is_named(product, run):
    message = run("bundle", "build", code=5)
    assert "the waveform table is not approved" in message
    assert "ampforge policy approve" in message
    assert not (product / BUNDLE).exists()


def test_a_waveform_that_changed_after_its_approval_is_not_built(approved, run):
    path = approved / "waveforms.toml"
    path.write_text(path.read_text().replace("400", "399"))
    message = run("bundle", "build", code=5)
    assert "for another waveform table" in message
    assert "ampforge policy approve" in message


def test_the_csv_of_a_waveform_travels_with_it_and_the_extracted_sources_compile_again(
    approved, run
):
    path = approved / "waveforms.toml"
    text = path.read_text()
    begin = text.index("segments = [")
    end = text.index("]\n\n", begin) + 1
    run("waveform", "export", path, "--mode", "LIFT", "--output", "lift-pulse.csv")
    path.write_text(text[:begin] + 'csv = "lift-pulse.csv"' + text[end:])
    run("policy", "approve")
    run("bundle", "build", "--sign")
    run("bundle", "extract", BUNDLE, "extracted")
    sources = approved / "extracted" / "sources"
    carried = sources / "lift-pulse.csv"
    assert carried.read_bytes() == (approved / "lift-pulse.csv").read_bytes()
    run("waveform", "compile", sources / "waveforms.toml", "--output", "again.table")
    table = approved / "extracted" / "waveform-table.bin"
    assert (approved / "again.table").read_bytes() == table.read_bytes()
    provenance = json.loads((approved / "extracted" / "provenance.json").read_bytes())
    digest = hashlib.sha256(carried.read_bytes()).hexdigest()
    materials = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": "waveforms/lift-pulse.csv", "digest": {"sha256": digest}} in materials


@pytest.mark.parametrize("name", ["LIFT.csv", "lift pulse.csv", "partitions.csv"])
def test_a_csv_that_cannot_be_carried_under_its_name_is_refused(approved, run, name):
    path = approved / "waveforms.toml"
    text = path.read_text()
    begin = text.index("segments = [")
    end = text.index("]\n\n", begin) + 1
    run("waveform", "export", path, "--mode", "LIFT", "--output", name)
    path.write_text(text[:begin] + f'csv = "{name}"' + text[end:])
    before = (approved / BUNDLE).read_bytes()
    run("policy", "approve")
    message = run("bundle", "build", code=5)
    assert "cannot be carried under its name" in message
    assert (approved / BUNDLE).read_bytes() == before


def test_a_waveform_over_a_limit_is_refused_with_the_rules_name(approved, run):
    path = approved / "limits.toml"
    text = path.read_text()
    head, tail = text.split("[limits.PEAK]", maxsplit=1)
    path.write_text(f"{head}[limits.PEAK]{tail.replace('value = 600', 'value = 300', 1)}")
    message = run("bundle", "build", code=5)
    assert "PEAK" in message


def test_an_approval_by_a_release_key_is_refused_at_build(product, run):
    trust = (product / "trust.cose").rename(product / "hidden.cose")
    run("policy", "approve", "--key", "keys/release-1.pem")
    trust.rename(product / "trust.cose")
    message = run("bundle", "build", code=3)
    assert "no key of the role policy" in message


def test_a_bundle_with_a_flipped_bit_is_refused(approved, run):
    changed = bytearray(Path(SIGNED).read_bytes())
    changed[len(changed) // 2] ^= 1
    Path("flipped.zip").write_bytes(changed)
    assert "not exactly as it was built" in run("bundle", "verify", "flipped.zip", code=5)
    members = parse_archive(Path(SIGNED).read_bytes())
    app = members["app.bin"]
    repaired = serialize_archive(members | {"app.bin": app[:-1] + bytes([app[-1] ^ 1])})
    Path("repaired.zip").write_bytes(repaired)
    assert "not the one that was signed" in run("bundle", "verify", "repaired.zip", code=5)
    inspection = run("bundle", "inspect", "repaired.zip")
    assert "NOT AS STATED" in inspection
    assert "problem: a part is not the one that was signed" in inspection


def test_an_unsigned_bundle_does_not_verify_and_is_inspected(approved, run):
    assert "not signed" in run("bundle", "verify", BUNDLE, code=3)
    assert "not signed" in run("bundle", "inspect", BUNDLE)
    document = json.loads(run("bundle", "inspect", BUNDLE, "--json"))
    assert document["schema"] == "ampforge.bundle/1"
    assert (document["signed"], document["verified"]) == (False, False)
    assert document["problems"] == []
    assert [mode["name"] for mode in document["waveform"]["modes"]] == [
        *("LIFT", "TIGHTEN", "INFUSE")
    ]
    assert {part["name"] for part in document["parts"]} >= {"app.bin", "sources/limits.toml"}


def test_a_signed_bundle_is_inspected_with_its_keys(approved, run):
    document = json.loads(run("bundle", "inspect", SIGNED, "--json"))
    assert [entry["algorithm"] for entry in document["signatures"]] == ["ecdsa-p256"] * 2
    assert "ecdsa-p256" in run("bundle", "inspect", SIGNED)


def test_a_key_of_another_role_may_not_sign(approved, run):
    before = Path(BUNDLE).read_bytes()
    message = run("bundle", "sign", BUNDLE, "--key", "keys/policy.pem", code=3)
    assert "does not hold the release role" in message
    assert Path(BUNDLE).read_bytes() == before


def test_signing_without_a_trust_record_says_what_is_not_known(approved, run, tmp_path):
    (approved / "trust.cose").unlink()
    output = tmp_path / "signed.zip"
    assert "no trust record" in run("bundle", "sign", BUNDLE, "--output", output)
    assert json.loads(run("bundle", "inspect", output, "--json"))["signed"]
    assert "no trust record" in run("bundle", "verify", output, code=2)


def test_a_bundle_verifies_without_a_configuration(approved, run, tmp_path, monkeypatch):
    trust = load_trust_record(approved / "trust.cose")
    assert verify_bundle(Path(SIGNED).read_bytes(), trust).threshold == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out = run("bundle", "verify", approved / SIGNED, "--trust", approved / "trust.cose")
    assert "verified" in out
    assert "ampforge.toml" in run("bundle", "verify", approved / SIGNED, code=2)


def test_what_is_no_bundle_is_refused(product, run):
    Path("text.zip").write_text("hello")
    assert "not a bundle" in run("bundle", "inspect", "text.zip", code=5)
    assert "not a bundle" in run("bundle", "verify", "text.zip", code=5)


def test_the_sbom_is_carried_when_it_is_there(approved, run):
    Path("sbom.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6"}')
    document = json.loads(run("bundle", "build", "--sbom", "sbom.json", "--json"))
    assert "sbom.json" in {part["name"] for part in document["parts"]}


def test_a_version_is_only_for_an_app_that_states_none(approved, run):
    message = run("bundle", "build", "--version", "9.9.9", code=5)
    assert "app's version does not match" in message


def test_an_output_folder_that_cannot_be_made_is_refused(approved, run):
    message = run("bundle", "build", "--output", "ampforge.toml/bundle.zip", code=2)
    assert "output folder cannot be made" in message
    assert "File name too long" in run("bundle", "build", "--output", "x" * 300, code=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n", "not JSON"),
        (b"[1]", "JSON with a list outside"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_is_no_bill_of_materials_does_not_travel_in_a_bundle(approved, run, content, message):
    (approved / "bill").write_bytes(content)
    (approved / BUNDLE).unlink()
    refusal = run("bundle", "build", "--sbom", "bill", code=5)
    assert "not a software bill of materials" in refusal
    assert message in refusal
    assert not (approved / BUNDLE).exists()


def test_a_bill_of_materials_is_carried(approved, run):
    (approved / "sbom.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6"}')
    run("bundle", "build", "--sbom", "sbom.json")
    assert parse_archive((approved / BUNDLE).read_bytes())["sbom.json"].startswith(b"{")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bundle", "inspect", "pipe"),
        ("bundle", "sign", "pipe"),
        ("bundle", "verify", BUNDLE, "--trust", "pipe"),
        ("bundle", "build", "--app", "pipe"),
        ("bundle", "build", "--partitions", "pipe"),
        ("image", "inspect", "pipe"),
        ("policy", "approve", "--limits", "pipe"),
        ("key", "inspect", "pipe"),
        ("trust", "sign", "--factory-ca", "pipe"),
    ],
)
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(approved, run, arguments):
    os.mkfifo(approved / "pipe")
    before = {path: path.read_bytes() for path in approved.rglob("*") if path.is_file()}
    code = 5 if arguments[0] in {"bundle", "image", "policy"} else 3
    refusal = run(*arguments, code=3 if "--trust" in arguments else code)
    assert "  next:" in refusal
    after = {path: path.read_bytes() for path in approved.rglob("*") if path.is_file()}
    assert after == before


def test_a_file_name_that_is_too_long_is_refused(approved, run):
    assert "File name too long" in run("bundle", "build", "--approval", "x" * 300, code=5)


def test_a_strangers_text_cannot_write_to_the_terminal(approved, run):
    members = parse_archive((approved / BUNDLE).read_bytes())
    statement = members["statement.cbor"].replace(b"eflare", b"e\x1b[31m", 1)
    assert statement != members["statement.cbor"]
    forged = serialize_archive(members | {"statement.cbor": statement})
    (approved / "forged.zip").write_bytes(forged)
    refusal = run("bundle", "inspect", "forged.zip", code=5)
    assert "\x1b" not in refusal


def test_a_product_that_the_trust_record_does_not_name_is_not_built(approved, run):
    config = approved / "ampforge.toml"
    config.write_text(config.read_text().replace('name = "flare"', 'name = "glow"', 1))
    refusal = run("bundle", "build", code=5)
    assert "another product" in refusal
    assert not list(approved.glob("build/glow*"))


@pytest.mark.parametrize("verb", ["approve", "sign"])
def test_nobody_signs_for_a_policy_that_no_longer_counts(approved, run, verb):
    run("trust", "sign", "--minimum-policy-version", "2")
    before = (approved / "build" / "approval.cose").read_bytes()
    assert "no longer counts" in run("policy", verb, code=5)
    assert (approved / "build" / "approval.cose").read_bytes() == before
    assert not (approved / "build" / "limits.cose").exists()


def test_a_full_disk_under_the_output_is_told(approved):
    command = [sys.executable, "-c", "from cli.main import main; main()", "bundle", "inspect"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, BUNDLE],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_every_release_states_what_it_is_made_of(approved, run):
    run("bundle", "build")
    members = parse_archive((approved / BUNDLE).read_bytes())
    bill = json.loads(members["sbom.json"])
    stated = {
        component["bom-ref"].removeprefix("ampforge:"): component["hashes"][0]["content"]
        for component in bill["components"]
    }
    assert stated == {
        name: hashlib.sha256(members[name]).hexdigest()
        for name in ("app.bin", "waveform-table.bin", "limits-policy.cbor", "partition-table.bin")
    }
    assert bill["metadata"]["component"]["version"] == "1.4.0"
    made = json.loads(members["provenance.json"])["predicate"]
    assert {
        entry["name"]: entry["digest"]["sha256"]
        for entry in made["buildDefinition"]["resolvedDependencies"]
    } == {
        name: hashlib.sha256((approved / path).read_bytes()).hexdigest()
        for name, path in (
            ("app", "firmware/images/flare-1.4.0.bin"),
            ("approval", "build/approval.cose"),
            ("limits", "limits.toml"),
            ("partitions", "partitions.csv"),
            ("waveforms", "waveforms.toml"),
        )
    }
    assert made["runDetails"]["builder"]["version"].keys() == {"ampforge", "esptool"}


def test_building_with_sign_gives_what_building_and_signing_give(approved, run):
    run("bundle", "build")
    unsigned = parse_archive(Path(BUNDLE).read_bytes())
    run("bundle", "sign", BUNDLE)
    apart = json.loads(run("bundle", "inspect", BUNDLE, "--json"))
    Path(BUNDLE).unlink()
    log_lines = Path("sign-log.jsonl").read_text().count("\n")
    printed = json.loads(run("bundle", "build", "--sign", "--json"))
    together = parse_archive(Path(BUNDLE).read_bytes())
    assert {name: together.get(name) for name in unsigned if name != "statement.cbor"} == {
        name: content for name, content in unsigned.items() if name != "statement.cbor"
    }
    assert (printed["path"], printed["digest"]) == (str(approved / BUNDLE), apart["digest"])
    assert (printed["release_signatures"], printed["release_threshold"]) == (2, 2)
    assert verify_bundle(Path(BUNDLE).read_bytes(), load_trust_record(Path("trust.cose")))
    assert Path("sign-log.jsonl").read_text().count("\n") == log_lines + 2
    run("bundle", "verify", BUNDLE)


def test_building_with_one_key_says_who_is_missing(approved, run):
    told = run("bundle", "build", "--sign", "--key", "keys/release-2.pem")
    assert "  without a bootloader" in told
    assert "with 1 key\n" in told
    assert "have another release engineer run `ampforge bundle sign`" in told
    run("bundle", "sign", BUNDLE, "--key", "keys/release-1.pem")
    run("bundle", "verify", BUNDLE)


@pytest.mark.parametrize("signing", [[], ["--sign", "--key", "keys/release-3.pem"]])
def test_a_signed_bundle_is_replaced_only_when_asked_to(approved, run, signing):
    build = ("bundle", "build", "--output", SIGNED, *signing)
    before = (Path(SIGNED).read_bytes(), Path("sign-log.jsonl").read_bytes())
    message = run(*build, code=2)
    assert "would take the place of a signed bundle" in message
    assert "this very release, signed" in message
    assert "`ampforge bundle sign`" in message
    message = run(*build, "--release-counter", 2, code=2)
    assert "1.4.0, release counter 1, signed" in message
    assert "--replace-signed if that file is not needed any more" in message
    assert (Path(SIGNED).read_bytes(), Path("sign-log.jsonl").read_bytes()) == before
    run(*build, "--release-counter", 2, "--replace-signed")
    assert json.loads(run("bundle", "inspect", SIGNED, "--json"))["release_counter"] == 2


def test_a_signed_bundle_whose_statement_cannot_be_read_is_not_replaced_either(approved, run):
    members = parse_archive(Path(SIGNED).read_bytes())
    Path(SIGNED).write_bytes(serialize_archive(members | {"statement.cose": b"later"}))
    before = Path(SIGNED).read_bytes()
    assert "a bundle that is signed" in run("bundle", "build", "--output", SIGNED, code=2)
    assert Path(SIGNED).read_bytes() == before


def test_what_may_not_be_signed_is_not_left_unsigned_either(approved, run):
    ledger = approved / "secure-version-flare-c3.jsonl"
    before = (Path("sign-log.jsonl").read_bytes(), ledger.read_bytes())
    Path(BUNDLE).unlink()
    message = run("bundle", "build", "--sign", "--key", "keys/policy.pem", code=3)
    assert "does not hold the release role" in message
    assert not Path(BUNDLE).exists()
    assert (Path("sign-log.jsonl").read_bytes(), ledger.read_bytes()) == before


@pytest.mark.parametrize(
    "options", [["--key", "keys/release-1.pem"], ["--spend-secure-version", "why"]]
)
def test_options_of_signing_without_sign_are_refused(approved, run, options):
    before = Path(BUNDLE).read_bytes()
    message = run("bundle", "build", *options, code=2)
    assert f"got:      {options[0]}" in message
    assert Path(BUNDLE).read_bytes() == before
