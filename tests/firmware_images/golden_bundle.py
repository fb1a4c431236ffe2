"""Writes tests/golden/bundle anew: `python -m tests.firmware_images.golden_bundle`.

Needed when a format inside a release changes before the first stable version. Everything but the
waveform table and its approval is taken from the bundle that is there. The keys are forgotten, so
the digest that is printed is another each time: docs/spec/release-statement-and-bundle.md and
test_bundle_golden.py state it.
"""

from __future__ import annotations

from pathlib import Path

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.partitions import parse_partition_table
from signing.trust import sign_trust_record, verify_trust_record
from tests.firmware_images.release_parts import (
    ReleaseParts,
    build_inputs,
    build_parts,
    build_trust,
    signer,
)

FOLDER = Path(__file__).parents[1] / "golden" / "bundle"
BUNDLE = FOLDER / "thing-1.0.0.bundle.zip"
TRUST = FOLDER / "thing.trust.cose"


def write_golden_bundle() -> str:
    """Write both files; return the release's digest."""
    old = parse_archive(BUNDLE.read_bytes())
    parts = build_parts()
    assert old["limits-policy.cbor"] == parts.policy
    inputs = build_inputs(
        ReleaseParts(
            app=old["app.bin"], policy=parts.policy, table=parts.table, approval=parts.approval
        ),
        product="thing",
        version="1.0.0",
        partition_table=parse_partition_table(old["partition-table.bin"], where="golden"),
        sbom=old["sbom.json"],
        sources={"limits.toml": old["sources/limits.toml"]},
    )
    signed = sign_bundle(build_bundle(inputs), [signer("release-1"), signer("release-2-ed")])
    trust = sign_trust_record(build_trust(product="thing"), [signer("root-1"), signer("root-2")])
    digest = verify_bundle(signed, verify_trust_record(trust, current=None)).digest.hex()
    BUNDLE.write_bytes(signed)
    TRUST.write_bytes(trust)
    return digest


if __name__ == "__main__":
    print(write_golden_bundle())  # noqa: T201 - the digest that two other files state
