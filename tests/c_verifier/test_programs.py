"""The C verifier's programs: the command line, the fuzzer, and what it takes of a board."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys

import pytest

from tests.c_verifier.verifier import GOLDEN, SOURCES, build
from tests.conftest import EXAMPLES_FACTOR, IS_SOAK

HOW_TO = SOURCES.parents[3] / "docs" / "how-to" / "implement-the-device-side-in-c.md"
MANIFESTS = GOLDEN / "manifests"
TRUST = MANIFESTS / "trust-record.cose"
CORPUS = (
    *(MANIFESTS / f"{kind}.cose" for kind in ("manifest", "assignment", "freshness")),
    *(GOLDEN / "signing" / f"trust-record-{version}.cose" for version in (1, 2, 3)),
    *(GOLDEN / "waveforms" / f"tighten{part}" for part in (".table", ".slot", ".approval.cose")),
    GOLDEN / "waveforms" / "tighten-signed.slot",
    GOLDEN / "records" / "calibration.cbor",
)


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)  # type: ignore[call-overload]


def told_figures(heading: str) -> dict[str, list[int]]:
    """The figures of a table of the how-to, by the first cell of each row."""
    part = HOW_TO.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|(.*)\|$", part, flags=re.MULTILINE)
    return {
        name.strip("` "): [int(cell.replace(" ", "")) for cell in re.findall(r"\d[\d ]*", cells)]
        for name, cells in rows
    }


def test_a_case_is_judged_on_the_command_line(c_verifier, c_verifier_folder):
    program = build(c_verifier_folder, "verifier-cli")
    accepted = run(program, "manifest", f"trust=@{TRUST}", f"message=@{MANIFESTS}/manifest.cose")
    assert accepted.returncode == 0
    assert json.loads(accepted.stdout)["release_counter"] == 2
    refused = run(program, "manifest", f"trust=@{TRUST}", f"message=@{MANIFESTS}/freshness.cose")
    assert (refused.returncode, json.loads(refused.stdout)["code"]) == (3, "content-type")
    for words in (["manifest", f"trust=@{TRUST}", "message=@nowhere"], ["mainfest"], ["cose", "x"]):
        assert run(program, *words).returncode == 2
    assert "example: verifier-cli manifest" in run(program, "--help").stdout


def test_a_board_that_verifies_less_refuses_what_asks_for_more(c_verifier_folder):
    program = build(c_verifier_folder, "verifier-cli", "EVERYTHING=-DAF_WITH_EDDSA=0")
    record = GOLDEN / "signing" / "trust-record-3.cose"
    told = run(program, "trust", f"message=@{record}")
    assert (told.returncode, json.loads(told.stdout)["code"]) == (3, "algorithm-not-built")
    manifest = run(program, "manifest", f"trust=@{TRUST}", f"message=@{MANIFESTS}/manifest.cose")
    assert (manifest.returncode, json.loads(manifest.stdout)["code"]) == (3, "algorithm-not-built")
    assignment = MANIFESTS / "assignment.cose"
    assert run(program, "assignment", f"trust=@{TRUST}", f"message=@{assignment}").returncode == 0


def test_mutated_bytes_never_trip_the_sanitizers(c_verifier_folder):
    program = build(c_verifier_folder, "fuzz")
    cases = 10_000 * EXAMPLES_FACTOR
    seed = secrets.randbelow(2**31) if IS_SOAK else 1
    told = run(program, str(cases), str(seed), "3000", TRUST, *CORPUS)
    assert told.returncode == 0, f"seed {seed}: {told.stderr}"
    counted = json.loads(told.stdout)
    assert counted["cases"] == cases
    assert counted["accepted"] > cases // 20  # it reaches what lies behind the signatures


def test_no_allocation_that_fails_has_anything_accepted_and_the_how_to_states_what_is_needed(
    c_verifier_folder,
):
    program = build(c_verifier_folder, "measure")
    words = [f"{kind}=@{MANIFESTS}/{kind}.cose" for kind in ("manifest", "assignment", "freshness")]
    slot = GOLDEN / "waveforms" / "tighten.slot"
    turns = 5000 if IS_SOAK else 60
    told = run(program, f"trust=@{TRUST}", f"slot=@{slot}", *words, f"fail={turns}")
    assert told.returncode == 0, told.stderr
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    stated = told_figures("## 7. What it takes")
    for line in lines:
        assert line["heap_left_bytes"] == 0
        if "starved" in line:
            assert line["turns"] > 0
            assert line["accepted"] == 0
        else:
            assert line["code"] == "ok"
            stack_bytes, heap_bytes = stated[f"{line['decision']} on x86-64"]
            assert line["stack_bytes"] <= stack_bytes
            assert line["heap_peak_bytes"] <= heap_bytes


def test_the_verifier_itself_allocates_nothing_and_keeps_nothing():
    for source in SOURCES.glob("af_*.c"):
        text = source.read_text(encoding="utf-8")
        assert not re.search(r"\b(malloc|calloc|realloc|alloca|free)\b", text), source.name
        kept = re.findall(
            r"^\s*static (?!const\b)[\w ]+[ *]\w+(?:\[.*\])*(?: =.*)?;$", text, re.MULTILINE
        )
        assert not kept, (source.name, kept)


@pytest.mark.skipif(not IS_SOAK, reason="compiles for RISC-V three times; run by make soak")
def test_the_code_and_stack_on_risc_v_are_what_the_how_to_states(c_verifier):
    told = run(sys.executable, SOURCES / "size.py")
    assert told.returncode == 0, told.stderr
    stated = told_figures("## 7. What it takes")
    for line in told.stdout.splitlines():
        figures = json.loads(line)
        assert figures["writable_bytes"] == 0
        deepest = max(figures["stack_bytes"].values())
        got = [figures["code_bytes"], figures["read_only_bytes"], deepest]
        assert got == pytest.approx(stated[figures["profile"]], rel=0.05)
