"""`ampforge policy waive`: from a broken limit to a release that says what is waived, and back."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from cli.failures import run_and_exit
from cli.main import ampforge

TODAY = datetime.now(UTC).date()
UNTIL = str(TODAY + timedelta(days=60))
AFTER = str(TODAY + timedelta(days=61))
WHAT = ("--rule", "JDC", "--mode", "INFUSE", "--level", "4")
WHY = ("--until", UNTIL, "--reason", "study 12", "--requested-by", "R. Engineer")
LINE = (
    f"WAIVED JDC INFUSE level 4 until {UNTIL}: study 12 "
    "(0.444 mA/cm², limit 0.4; asked for by R. Engineer)"
)
BUDGET = "secure_version 0 of 16; 16 left"
FILE = "build/waiver-jdc-infuse-4.cose"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            run_and_exit(ampforge, list(map(str, arguments)))
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


@pytest.fixture
def product(run, tmp_path, monkeypatch):
    """The example with test keys, and a limit that its INFUSE breaks at level 4."""
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    folder = tmp_path / "flare"
    assert run("init", folder, "--test-keys")[0] == 0
    monkeypatch.chdir(folder)
    text = (folder / "limits.toml").read_text()
    text, count = re.subn(r"(\[limits\.JDC\]\nvalue = )[0-9.]+", r"\g<1>0.4", text)
    assert count == 1
    (folder / "limits.toml").write_text(text)
    return folder


def name_waivers(folder, *paths):
    text = (folder / "ampforge.toml").read_text()
    listed = f"waivers = {json.dumps(list(paths))}\n"
    text = re.sub(r"^(?:waivers = .*\n)?(approval = )", listed + r"\1", text, flags=re.MULTILINE)
    (folder / "ampforge.toml").write_text(text)


def files_of(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("sign-log")
    }


def test_a_waived_release_says_so_from_the_approval_to_the_repository(run, product):
    assert run("policy", "approve")[0] == 5
    code, out, _ = run("policy", "waive", *WHAT, *WHY)
    assert (code, out.splitlines()[0]) == (0, LINE)
    assert run("policy", "approve")[0] == 5  # it is not named yet
    name_waivers(product, FILE)
    code, out, _ = run("policy", "approve")
    assert (code, out.splitlines()[1]) == (0, LINE)
    boot = product / "keys" / "boot.pem"
    assert run("key", "generate", boot, "--algorithm", "rsa-3072", "--no-passphrase")[0] == 0
    assert run("waveform", "sign-slot", "--key", boot, "--chip-revision", "0.3")[0] == 0
    code, out, _ = run("bundle", "build")
    assert (code, LINE in out, BUDGET in out) == (0, True, True)
    bundle = "build/flare-1.4.0.bundle.zip"
    assert run("repo", "init", "--insecure-test-keys")[0] == 0
    for command in (
        ("bundle", "sign", bundle),
        ("bundle", "verify", bundle),
        ("bundle", "inspect", bundle),
        ("bundle", "diff", bundle, bundle),
        ("bundle", "extract", bundle, "extracted"),
        ("image", "merge", bundle, "-o", "factory.bin"),
        ("repo", "publish", bundle),
        ("repo", "status"),
    ):
        code, out, err = run(*command)
        assert (code, err) == (0, ""), command
        assert LINE in out, command
        is_spending = command[:2] in {("bundle", "sign"), ("repo", "publish")}
        assert (BUDGET in out) == is_spending, command
    code, out, err = run("bundle", "verify", bundle, "--at", AFTER)
    assert (code, out) == (5, "")
    assert "a waiver of JDC INFUSE level 4 has expired" in err
    assert run("bundle", "verify", bundle, "--at", UNTIL)[0] == 0
    code, out, _ = run("bundle", "verify", bundle, "--json")
    (waiver,) = json.loads(out)["waivers"]
    assert (waiver["level"], waiver["last_day"]) == (4, UNTIL)


def test_a_waiver_is_judged_with_and_printed_before_there_is_a_release(run, product):
    assert run("policy", "waive", *WHAT, *WHY)[0] == 0
    assert run("waveform", "check")[0] == 5
    code, out, err = run("waveform", "check", "--waiver", FILE)
    assert (code, err, out.splitlines()[2]) == (0, "", LINE)
    assert "within every limit but 1 that is waived" in out
    assert re.search(r"^~  JDC .*0\.444 mA/cm²", out, re.MULTILINE)
    document = json.loads(run("waveform", "check", "--waiver", FILE, "--json")[1])
    assert (document["passed"], document["violations"], document["waived"]) == (True, 0, 1)
    (waiver,) = document["waivers"]
    (finding,) = (entry for entry in document["findings"] if entry["waiver"])
    assert (finding["waiver"], finding["level"]) == (waiver["digest"], 4)
    assert (waiver["reason"], waiver["last_day"]) == ("study 12", UNTIL)
    name_waivers(product, FILE)
    for command in (
        ("compile", "-o", "flare.table"),
        ("spec-sheet", "flare.table"),
        ("spec-sheet", "flare.table", "-o", "sheet.md", "-o", "sheet.html", "-o", "sheet.json"),
    ):
        code, out, err = run("waveform", *command)
        assert (code, err, LINE in out) == (0, "", True), command
    assert f"- {LINE}\n" in (product / "sheet.md").read_text()
    assert f"<strong>{LINE}</strong>" in (product / "sheet.html").read_text()
    assert json.loads((product / "sheet.json").read_text())["waivers"] == [waiver]


def test_a_configured_waiver_that_does_not_count_is_told_and_covers_nothing(run, product):
    assert run("policy", "waive", *WHAT, *WHY)[0] == 0
    name_waivers(product, FILE, "build/none.cose")
    code, out, _ = run("waveform", "check")
    assert (code, LINE in out) == (0, True)
    assert re.search(r"^NOT COUNTED .*none\.cose: the file cannot be read$", out, re.MULTILINE)
    document = json.loads(run("waveform", "check", "--json")[1])
    (told,) = document["waiver_remarks"]
    assert (document["passed"], "none.cose" in told) == (True, True)
    text = (product / "waveforms.toml").read_text()
    (product / "draft.toml").write_text(text.replace("150, 200]", "150, 201]"))
    before = files_of(product)
    code, out, err = run("waveform", "check", "draft.toml")
    assert (code, "WAIVED" in out) == (5, False)
    assert "a waiver of JDC INFUSE level 4 is for another table" in out
    assert "JDC: mean of the worst second" in err
    for command in (("compile",), ("spec-sheet", "draft.toml", "-o", "sheet.md")):
        code, out, err = run("waveform", *command, *(("draft.toml",) * (len(command) == 1)))
        assert (code, out, "over the limit" in err) == (5, "", True)
    code, out, err = run("waveform", "check", "draft.toml", "--waiver", FILE)
    assert (code, out, "is for another table" in err) == (5, "", True)
    assert files_of(product) == before


def test_after_its_end_a_waiver_lets_nothing_pass_and_is_told(run, product, monkeypatch):
    assert run("policy", "waive", *WHAT, *WHY)[0] == 0
    name_waivers(product, FILE)
    later = datetime.now(UTC) + timedelta(days=61)
    for module in ("cli.waveform_commands", "cli.waveform_sheet_commands"):
        monkeypatch.setattr(f"{module}.utc_now", lambda: later)
    before = files_of(product)
    code, out, err = run("waveform", "check")
    assert (code, "a waiver of JDC INFUSE level 4 has expired" in out) == (5, True)
    assert "JDC: mean of the worst second" in err
    for verb in ("compile", "spec-sheet"):
        code, out, err = run("waveform", verb)
        assert (code, out, "over the limit" in err) == (5, "", True)
        code, out, err = run("waveform", verb, "--waiver", FILE)
        assert (code, out, "has expired" in err) == (5, "", True)
    assert files_of(product) == before


def test_a_waiver_that_the_policy_role_did_not_sign_covers_nothing(run, product):
    (product / "trust.cose").rename(product / "away.cose")
    key = product / "keys" / "second.pem"
    assert run("key", "generate", key, "--test-key", "--no-passphrase")[0] == 0
    assert run("policy", "waive", *WHAT, *WHY, "--key", key)[0] == 0
    code, out, _ = run("waveform", "check", "--waiver", FILE)
    assert (code, "NOT VERIFIED that the policy role signed" in out) == (0, True)
    (product / "away.cose").rename(product / "trust.cose")
    name_waivers(product, FILE)
    for arguments in ((), ("--waiver", FILE)):
        code, out, err = run("waveform", "check", *arguments)
        assert (code, out, "waiver-jdc-infuse-4.cose" in err) == (3, "", True)


def test_a_waveform_slot_says_what_its_approval_waives(run, product):
    assert run("policy", "waive", *WHAT, *WHY)[0] == 0
    name_waivers(product, FILE)
    assert run("policy", "approve")[0] == 0
    boot = product / "keys" / "boot.pem"
    assert run("key", "generate", boot, "--algorithm", "rsa-3072", "--no-passphrase")[0] == 0
    slot = "build/waveform.slot"
    for command in (
        ("sign-slot", "--key", boot, "--chip-revision", "0.3"),
        ("verify-slot", slot),
        ("inspect", slot),
    ):
        code, out, err = run("waveform", *command)
        assert (code, err, f"WAIVED by 1 waiver until {UNTIL}: " in out) == (0, "", True), command
    approved = json.loads(run("waveform", "inspect", slot, "--json")[1])["approved_waivers"]
    assert (len(approved["digests"]), approved["last_day"]) == (1, UNTIL)


def test_a_waiver_of_another_role_or_nobody_is_refused_and_nothing_is_written(run, product):
    before = files_of(product)
    code, out, err = run("policy", "waive", *WHAT, *WHY, "--key", "keys/release-1.pem")
    assert (code, out) == (3, "")
    assert "no key of the role policy" in err
    assert files_of(product) == before


def test_an_approval_under_a_waiver_that_changed_or_went_away_is_refused(run, product):
    assert run("policy", "waive", *WHAT, *WHY)[0] == 0
    name_waivers(product, FILE)
    assert run("policy", "approve")[0] == 0
    other = ("--reason", "another", *WHY[:2], *WHY[4:])
    assert run("policy", "waive", *WHAT, *other, "-o", "other.cose")[0] == 0
    before = files_of(product)
    code, _, err = run("bundle", "build", "--waiver", "other.cose")
    assert (code, "with other waivers" in err) == (5, True)
    text = (product / "waveforms.toml").read_text()
    changed = text.replace("session", "# a comment\nsession", 1)
    (product / "waveforms.toml").write_text(changed)
    assert run("bundle", "build")[0] == 0  # a comment is no change of the table
    before = files_of(product)
    strict = (product / "limits.toml").read_text().replace("value = 0.4\n", "value = 0.3\n")
    strict = strict.replace("\nversion = 1\n", "\nversion = 2\n")
    (product / "limits.toml").write_text(strict)
    code, _, err = run("policy", "approve")
    assert (code, "is for another policy" in err) == (5, True)
    assert files_of(product) == before | {product / "limits.toml": strict.encode()}


def test_a_second_signer_judges_again_and_adds(run, product):
    assert run("policy", "waive", *WHAT, *WHY)[0] == 0
    key = product / "keys" / "second.pem"
    assert run("key", "generate", key, "--test-key", "--no-passphrase")[0] == 0
    (product / "trust.cose").unlink()  # which does not give the new key the role
    code, out, _ = run("policy", "waive", "--add", "-o", FILE, "--key", key)
    assert (code, "2 signatures" in out, LINE in out) == (0, True, True)
    before = files_of(product)
    strict = (product / "limits.toml").read_text().replace("value = 0.4\n", "value = 0.3\n")
    strict = strict.replace("\nversion = 1\n", "\nversion = 2\n")
    (product / "limits.toml").write_text(strict)
    code, _, err = run("policy", "waive", "--add", "-o", FILE, "--key", "keys/release-1.pem")
    assert (code, "another policy" in err) == (5, True)
    assert files_of(product)[product / FILE] == before[product / FILE]


@pytest.mark.parametrize(
    ("arguments", "code", "telling"),
    [
        ((*WHAT,), 2, "until when, why, and for whom"),
        ((*WHAT[:4], *WHY), 2, "one level or for all"),
        ((*WHAT, "--all-levels", *WHY), 2, "one level or for all"),
        ((*WHAT, *WHY, "--until", "2020-01-01"), 2, "has ended already"),
        ((*WHAT, *WHY, "--until", "2999-01-01"), 5, "does not last that long"),
        ((*WHAT, *WHY, "--reason", " "), 5, "reason of a waiver"),
        (("--rule", "VC", *WHAT[2:], *WHY), 5, "nothing to waive"),
        (("--add", *WHAT), 2, "says what is waived"),
        (("--add", "-o", "none.cose"), 5, "cannot be read"),
        (("--add", "-o", "partitions.csv"), 3, "partitions.csv"),
    ],
)
def test_a_request_that_does_not_say_all_of_it_is_refused(run, product, arguments, code, telling):
    before = files_of(product)
    refused, out, err = run("policy", "waive", *arguments)
    assert (refused, out) == (code, ""), err
    assert telling in err
    assert files_of(product) == before
