"""The frame of the command line: help, lazy imports, exit codes, configuration, init."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from pydantic import BaseModel, ConfigDict

from cli.configuration import CONFIGURATION_MAX_BYTES, load_configuration
from cli.failures import UnitFailed, UsageRefusal, run_and_exit
from cli.init_command import copy_example
from cli.main import COMMANDS, ampforge
from cli.params import passphrase_source, read_passphrase_file
from firmware_images.errors import FirmwareImageError
from firmware_images.product import ReleaseSettings
from manifests.errors import ManifestError
from provisioning.errors import ProvisioningError
from provisioning.station_settings import StationSettings
from signing.errors import DurableFileError, SigningError, TrustError

HEAVY = {
    "alembic",
    "cbor2",
    "cryptography",
    "esptool",
    "httptools",
    "jinja2",
    "matplotlib",
    "numpy",
    "pydantic",
    "pyvisa",
    "rich",
    "serial",
    "smp",
    "sqlalchemy",
    "tuf",
    "urllib3",
}


def _modules_after(arguments: list[str]) -> set[str]:
    script = (
        "import sys\n"
        "from cli.main import ampforge, run_and_exit\n"
        f"try:\n    run_and_exit(ampforge, {arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_no_heavy_library(arguments):
    assert _modules_after(arguments) & HEAVY == set()


@pytest.mark.parametrize("noun", sorted(COMMANDS))
def test_help_of_each_noun_shows_an_example_and_loads_no_instrument_plot_or_flash_library(noun):
    modules = _modules_after([noun, "--help"])
    assert modules & {"matplotlib", "numpy", "pyvisa", "esptool", "httptools", "tuf"} == set()


def test_verifying_a_bundle_imports_neither_pydantic_nor_esptool_nor_numpy():
    golden = Path(__file__).parents[1] / "golden" / "bundle"
    bundle, trust = golden / "thing-1.0.0.bundle.zip", golden / "thing.trust.cose"
    modules = _modules_after(["bundle", "verify", str(bundle), "--trust", str(trust)])
    assert "cryptography" in modules  # else it would not have got as far
    assert modules & HEAVY == {"cryptography"}


def _verbs(command):
    if not isinstance(command, click.Group):
        return [command]
    return [verb for inner in command.commands.values() for verb in _verbs(inner)]


@pytest.mark.parametrize("noun", sorted(COMMANDS))
def test_each_verb_has_an_example_and_json(noun):
    command = ampforge.get_command(click.Context(ampforge), noun)
    for verb in _verbs(command):
        assert "Example" in (verb.epilog or ""), f"{noun} {verb.name} has no example"
        options = {option for parameter in verb.params for option in parameter.opts}
        assert "--json" in options, f"{noun} {verb.name} has no --json"
        assert "--output" not in options or "-o" in options, f"{noun} {verb.name} has no -o"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SigningError("x"), 3),
        (TrustError("x"), 3),
        (DurableFileError("x"), 2),
        (ManifestError("x"), 4),
        (FirmwareImageError("x"), 5),
        (ProvisioningError("x"), 6),
        (UsageRefusal("x"), 2),
        (UnitFailed(), 10),
        (click.UsageError("x"), 2),
        (click.Abort(), 130),
    ],
)
def test_each_error_has_its_exit_code(error, code):
    @click.command()
    def fail():
        raise error

    with pytest.raises(SystemExit) as exited:
        run_and_exit(fail, [])
    assert exited.value.code == code


def test_without_a_terminal_the_passphrase_is_asked_for_in_a_file(tmp_path):
    command = [sys.executable, "-c", "from cli.main import main; main()"]
    done = subprocess.run(
        [*command, "key", "generate", "k.pem"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: there is no terminal to ask for a passphrase" in done.stderr
    assert "--passphrase-file" in done.stderr
    assert "GetPassWarning" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_mistyped_noun_verb_or_option_is_told_with_the_one_that_it_may_have_been(capsys):
    for arguments, close in (
        (["bundel", "verify"], "bundle"),
        (["bundle", "inpect"], "inspect"),
        (["bundle", "verify", "--trsut", "x"], "--trust"),
    ):
        with pytest.raises(SystemExit) as exited:
            run_and_exit(ampforge, arguments)
        assert exited.value.code == 2
        assert f"Did you mean '{close}'?" in capsys.readouterr().err


def test_a_usage_error_is_told_like_every_other_and_to_scripts_as_json(capsys):
    with pytest.raises(SystemExit):
        run_and_exit(ampforge, ["bundle", "extract"])
    assert capsys.readouterr().err.splitlines() == [
        "error: Missing argument 'BUNDLE'.",
        "  expected: ampforge bundle extract [OPTIONS] BUNDLE FOLDER",
        "  next:     `ampforge bundle extract --help` explains each part",
    ]
    with pytest.raises(SystemExit) as exited:
        run_and_exit(ampforge, ["bundle", "verify", "nowhere.zip", "--json"])
    document = json.loads(capsys.readouterr().err)
    assert exited.value.code == document["exit_code"] == 2
    assert document["schema"] == "ampforge.error/1"
    assert "'nowhere.zip' does not exist" in document["what"]


@pytest.mark.parametrize("noun", [noun for noun in COMMANDS if noun not in {"demo", "init"}])
def test_the_overview_of_a_noun_cuts_no_sentence_off(noun):
    command = ampforge.get_command(click.Context(ampforge), noun)
    overview = command.get_help(click.Context(command, info_name=noun)).partition("Commands:")[2]
    assert "..." not in overview


def test_a_bug_stays_a_traceback():
    @click.command()
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_and_exit(fail, [])


def test_an_error_is_printed_with_all_its_parts(capsys):
    @click.command()
    @click.option("--json", is_flag=True)
    def fail(json):
        raise TrustError("refused", expected="a", got="b", where="c", hint="do d")

    with pytest.raises(SystemExit):
        run_and_exit(fail, [])
    assert capsys.readouterr().err.splitlines() == [
        "error: refused",
        "  expected: a",
        "  got:      b",
        "  where:    c",
        "  next:     do d",
    ]
    with pytest.raises(SystemExit):
        run_and_exit(fail, ["--json"])
    document = json.loads(capsys.readouterr().err)
    assert document["what"] == "refused"
    assert document["exit_code"] == 3


def test_what_a_stranger_wrote_is_shown_and_not_obeyed(capsys):
    @click.command()
    def fail() -> None:
        raise SigningError("a\x1b[2J", got="b\n  next:     forged", where="c\udcff\u202e µ")

    with pytest.raises(SystemExit):
        run_and_exit(fail, [])
    assert capsys.readouterr().err.splitlines() == [
        "error: a\\x1b[2J",
        "  got:      b\\n  next:     forged",
        "  where:    c\\udcff\\u202e µ",
    ]


def test_a_folder_that_was_removed_is_named(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    gone.rmdir()
    with pytest.raises(UsageRefusal, match="is gone"):
        load_configuration()


def test_a_terminal_that_cannot_show_a_letter_gets_a_result_all_the_same(tmp_path):
    copy_example(tmp_path / "flare")
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "waveform", "check"],
        cwd=tmp_path / "flare",
        env=os.environ
        | {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=True,
    )
    assert b"\\u2264" in done.stdout  # less or equal


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "w"),
        ({"expected": 1}, "w: expected 1"),
        ({"got": 2}, "w: got 2"),
        ({"expected": 1, "got": 2, "where": "f"}, "w: expected 1, got 2 (f)"),
    ],
)
def test_a_refusal_reads_as_one_sentence(parts, text):
    assert str(SigningError("w", **parts)) == text


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: str
    files: tuple[Path, ...] = ()


def _write(folder: Path, text: str) -> Path:
    path = folder / "ampforge.toml"
    path.write_text(text)
    return path


def test_configuration_is_found_upward_and_sections_are_parsed(tmp_path, monkeypatch):
    path = _write(tmp_path, '[station.b]\nname = "x"\nfiles = ["y"]\n')
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "deeper")
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    configuration = load_configuration()
    assert configuration.path == path
    assert configuration.section("station.b", Section) == Section(name="x", files=(Path("y"),))
    assert configuration.has_section("station.b")
    assert not configuration.has_section("station.c")
    assert configuration.resolve("keys/k.pem") == tmp_path / "keys" / "k.pem"


def test_configuration_is_named_by_the_environment(tmp_path, monkeypatch):
    path = _write(tmp_path, "")
    monkeypatch.setenv("AMPFORGE_CONFIG", str(path))
    assert load_configuration().path == path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"x = ", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"#" * (CONFIGURATION_MAX_BYTES + 1), "too large"),
        (b"[serve]\n", "no section [station]"),
        (b'[station]\nname = 3\nother = "x"\n', "not acceptable"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path, content, told):
    path = tmp_path / "ampforge.toml"
    path.write_bytes(content)
    with pytest.raises(UsageRefusal) as refused:
        load_configuration(path).section("station", Section)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "key", "likely"),
    [
        ("[release]\nrelase_counter = 1\n", "relase_counter", "release_counter"),
        ('[station]\nnme = "x"\n', "nme", "name"),
        ('[[station.slots]]\nport = "a"\nmetre = "b"\n', "metre", "meter"),
    ],
)
def test_a_misspelled_key_is_told_with_the_one_that_it_may_have_been(
    tmp_path, content, key, likely
):
    configuration = load_configuration(_write(tmp_path, content))
    section, model = (
        ("release", ReleaseSettings)
        if configuration.has_section("release")
        else ("station", StationSettings)
    )
    told = f"{key} is not a key that is known here \\(did you mean {likely}\\?\\)"
    with pytest.raises(UsageRefusal, match=told):
        configuration.section(section, model)


def test_nothing_is_guessed_of_what_is_like_no_key(tmp_path):
    configuration = load_configuration(_write(tmp_path, "[station.metrology]\nzz = 1\n"))
    with pytest.raises(UsageRefusal, match=r"zz is not a key that is known here \("):
        configuration.section("station", StationSettings)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[product]\n[serv]\n", "serv is not a section that is known here (did you mean serve?)"),
        ("[[slots]]\n", "slots is not a section that is known here:"),
        ("[stations.meter]\n", "(did you mean station?)"),
        ("prot = 1\n[serve]\n", "prot is not a key outside the sections that is known here:"),
        ("serve = 8470\n", "serve must be a section"),
        ("[[delta]]\nkind = 'sequential'\n", "delta must be a section"),
    ],
)
def test_what_is_no_section_of_ours_is_refused_whatever_the_command_needs(tmp_path, content, told):
    """An optional section that is misspelled would be taken for one that was left out."""
    path = _write(tmp_path, content)
    with pytest.raises(UsageRefusal) as refused:
        load_configuration(path)
    assert told in str(refused.value)
    assert refused.value.where == str(path)


def test_a_missing_configuration_says_how_to_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMPFORGE_CONFIG", raising=False)
    with pytest.raises(UsageRefusal) as refused:
        load_configuration()
    assert "ampforge init" in (refused.value.hint or "")
    with pytest.raises(UsageRefusal):
        load_configuration(tmp_path / "absent.toml")


def test_init_copies_the_example_and_refuses_a_folder_with_something_in_it(tmp_path):
    target = tmp_path / "product"
    written = copy_example(target)
    assert Path("ampforge.toml") in written
    assert (target / "waveforms.toml").is_file()
    before = sorted(target.rglob("*"))
    with pytest.raises(UsageRefusal, match="not empty"):
        copy_example(target)
    assert sorted(target.rglob("*")) == before


def test_a_passphrase_file_is_read_without_its_line_end(tmp_path):
    path = tmp_path / "pass"
    path.write_bytes(b"secret words\r\n")
    path.chmod(0o600)
    assert read_passphrase_file(path) == b"secret words"
    assert passphrase_source(path, prompt="?")() == b"secret words"


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"x", 0o644, "read by others"),
        (b"\n", 0o600, "does not hold"),
        (b"x" * 5000, 0o600, "hold"),
        (b"-----BEGIN\nPRIVATE KEY-----\n", 0o600, "one line .* got 2 lines"),
    ],
)
def test_a_wrong_passphrase_file_is_refused(tmp_path, content, mode, told):
    path = tmp_path / "pass"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(UsageRefusal, match=told):
        read_passphrase_file(path)


def test_a_reader_that_goes_away_is_no_error():
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    script = "import sys; from cli.main import main; sys.argv=['ampforge','--help']; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode == 0
