"""Whatever bytes come in, each way in gives a value or one of our errors."""

from __future__ import annotations

import ast
import random
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing.refusal import Refusal
from tests.conftest import IS_SOAK
from tests.hostile.entries import ENTRIES

ROOT = Path(__file__).parents[2]
PACKAGES = ("signing", "firmware_images", "manifests", "provisioning", "cli")
_RESULT = "a field of a ledger event, after that was read; its own tests change each part of it"
_METER = "the simulated meter's side, which a station's own program speaks to"
NOT_FROM_OUTSIDE = {
    "manifests/client_address.py: parse_node": "text that is no address gives none; its own tests",
    "manifests/client_address.py: parse_network": "a setting; refused by its own tests",
    "manifests/server_plan.py: parse_plan": "a pipe from the parent process",
    "cli/unit_names.py: parse_mac": "an argument: six bytes in a pattern, or a usage error",
    "provisioning/calibration_result.py: parse_calibration_result": _RESULT,
    "provisioning/check_entry.py: parse_check": _RESULT,
    "provisioning/instrument_register.py: parse_entry": _RESULT,
    "provisioning/verification_result.py: parse_verification_result": _RESULT,
    "provisioning/stored_result.py: parse_stored_result": _RESULT,
    "provisioning/udi.py: parse_udi_document": _RESULT,
    "provisioning/ledger_voids.py: parse_void": _RESULT,
    "provisioning/ledger_voids.py: parse_range": _RESULT,
    "provisioning/simulator/scpi.py: parse_channels": _METER,
    "provisioning/simulator/scpi.py: parse_header": _METER,
    "provisioning/simulator/scpi.py: parse_number": _METER,
}
MUTATIONS = 200 if IS_SOAK else 25


def name_of(entry) -> str:
    return entry.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("entries")


def read(entry, folder, content: bytes) -> None:
    path = folder / f"input{entry.suffix}"
    path.write_bytes(content)
    with suppress(Refusal):
        entry.read(path)
    assert path.read_bytes() == content


@pytest.mark.no_cover
@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
@settings(max_examples=MUTATIONS, deadline=None)
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_errors(entry, folder, content):
    read(entry, folder, content)


@pytest.mark.no_cover
@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_changed_valid_input_raises_only_our_errors(entry, folder):
    valid = entry.valid()
    generator = random.Random(None if IS_SOAK else entry.name)
    read(entry, folder, valid)
    for _ in range(MUTATIONS):
        content = bytearray(valid)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(content) + 1)
            match generator.randrange(5):
                case 0:
                    content[at : at + 1] = generator.randbytes(1)
                case 1:
                    del content[at : at + generator.choice((1, 8, 1 << 20))]
                case 2:
                    content[at:at] = generator.randbytes(generator.choice((1, 4, 40)))
                case 3:
                    content[at : at + 8] = generator.choice((b"\xff", b"\0", b"9", b"[")) * 8
                case _:
                    content[at:at] = content[:at]
        read(entry, folder, bytes(content))


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_valid_input_is_read_further_than_nonsense(entry, folder):
    """Else changing it would prove nothing: it is accepted, or refused for another reason."""

    def outcome(content: bytes) -> str:
        path = folder / f"sample{entry.suffix}"
        path.write_bytes(content)
        try:
            entry.read(path)
        except Refusal as refusal:
            return refusal.what
        return "accepted"

    assert outcome(entry.valid()) == "accepted" or outcome(entry.valid()) != outcome(b"\xff\x00")


def parsers() -> set[tuple[str, str]]:
    """File and name of each public `parse_` function of the five packages."""
    return {
        (str(path.relative_to(ROOT)), node.name)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("parse_")
    }


def test_no_parser_is_missing(folder):
    """Reading each entry's own input calls every parser, but for those with a reason not to."""
    called = set()

    def note(frame, event, _):
        if event == "call":
            called.add((frame.f_code.co_filename, frame.f_code.co_name))

    # Made before, whichever test asked first: what makes an input is no way in.
    inputs = [(entry, entry.valid()) for entry in ENTRIES]
    sys.setprofile(note)
    try:
        for entry, valid in inputs:
            read(entry, folder, valid)
    finally:
        sys.setprofile(None)
    missing = {
        f"{path}: {name}" for path, name in parsers() if (str(ROOT / path), name) not in called
    }
    # As equals: a reason goes when its parser becomes an entry, or is no more.
    assert missing == NOT_FROM_OUTSIDE.keys()
