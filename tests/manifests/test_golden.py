"""The committed messages are what this software writes, byte for byte, and what it reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import cbor2
import pytest

from manifests.assignment import verify_assignment
from manifests.device_report import verify_device_report
from manifests.freshness import parse_freshness_request, verify_freshness
from manifests.manifest import verify_manifest
from signing.errors import SigningError
from signing.trust import verify_trust_record
from tests.manifests.golden_messages import (
    CERTIFIED_REPORT,
    FOLDER,
    SIGNING,
    build,
    golden_trust,
)
from tests.manifests.test_device_messages import (
    ASSIGNMENT,
    CONSTRAINED,
    FRESHNESS,
    MANIFEST,
    REQUEST,
    STEPPED,
)

FILES = build()
SPECIFICATIONS = Path(__file__).parents[2] / "docs" / "spec"


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_golden_file_is_written_again_byte_for_byte(name):
    assert (FOLDER / name).read_bytes() == FILES[name]


def test_the_golden_messages_read_as_what_they_are():
    def read(name):
        return (FOLDER / name).read_bytes()

    trust = golden_trust()
    assert verify_manifest(read("manifest.cose"), trust) == MANIFEST
    assert verify_manifest(read("manifest-2.cose"), trust) == CONSTRAINED
    assert verify_assignment(read("assignment.cose"), trust) == ASSIGNMENT
    assert verify_assignment(read("assignment-2.cose"), trust) == STEPPED
    assert parse_freshness_request(read("freshness-request.cbor")) == REQUEST
    assert verify_freshness(read("freshness.cose"), trust, request=REQUEST) == FRESHNESS


def test_the_golden_report_is_by_a_device_of_the_golden_factory():
    untrusted_bytes = (FOLDER / "report-certified.cbor").read_bytes()
    record = (SIGNING / "trust-record-1.cose").read_bytes()
    now = datetime(2026, 6, 1, tzinfo=UTC)
    trust = verify_trust_record(record, current=None)
    assert verify_device_report(untrusted_bytes, trust, now=now) == CERTIFIED_REPORT
    placeholder = (FOLDER / "report.cbor").read_bytes()
    with pytest.raises(SigningError):
        verify_device_report(placeholder, trust, now=now)


def test_an_independent_cbor_reader_sees_the_keys_of_the_specification():
    manifest = cbor2.loads((FOLDER / "manifest.cbor").read_bytes())
    assert list(manifest) == list(range(1, 14))
    assert (manifest[2], manifest[3], manifest[4]) == ("flare", 2, "1.5.0")
    stated = cbor2.loads((FOLDER / "manifest-2.cbor").read_bytes())
    assert (list(stated), stated[1]) == (list(range(1, 16)), 2)
    assert (stated[14], stated[15]) == (2, 1_924_992_000)
    assignment = cbor2.loads((FOLDER / "assignment.cbor").read_bytes())
    assert list(assignment) == list(range(1, 13))
    report = cbor2.loads((FOLDER / "report.cbor").read_bytes())
    assert cbor2.loads(cbor2.loads(report[2][1:])[2])[2] == "FL26A000017"


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if name.endswith(".cbor")])
def test_an_independent_cbor_writer_writes_the_same_bytes(name):
    content = (FOLDER / name).read_bytes()
    assert cbor2.dumps(cbor2.loads(content), canonical=True) == content


def stated_of_golden_files(page):
    """What a page says of each golden file: sizes, and bytes as they are written there."""
    text = (SPECIFICATIONS / f"{page}.md").read_text(encoding="utf-8")
    for paragraph in re.split(r"\n(?=\n[^ ]|\d\. |\|)", text):
        parts = re.split(r"`([a-z0-9-]+\.(?:cbor|cose))`", paragraph)
        for name, said in zip(parts[1::2], parts[2::2], strict=True):
            sizes = [int(size) for size in re.findall(r"^(?: \(|, )(\d+) bytes", said)]
            spans = [*re.findall(r"`([0-9a-f… ]{8,})`", said), *indented_blocks(said)]
            yield name, sizes, ["".join(span.split()) for span in spans]


def indented_blocks(text):
    return re.findall(r"\n\n((?:    [0-9a-f… ]+\n?)+)", text)


@pytest.mark.parametrize(
    ("page", "sizes", "spans"), [("manifest", 4, 3), ("assignment", 2, 3), ("freshness", 1, 1)]
)
def test_the_pages_show_the_bytes_of_the_golden_files(page, sizes, spans):
    """Whoever implements a device from the page alone compares with them."""
    counted = [0, 0]
    for name, said_bytes, said in stated_of_golden_files(page):
        content = (FOLDER / name).read_bytes()
        assert said_bytes in ([], [len(content)]), name
        for span in said:
            pattern = ".*".join(map(re.escape, span.split("…")))
            assert re.fullmatch(pattern, content.hex()), (name, span)
        counted[0] += len(said_bytes)
        counted[1] += len(said)
    assert counted == [sizes, spans]
