"""`provenance`: where the parts of a release come from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.bundle import verify_bundle
from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.bundle_diff import diff_bundles
from firmware_images.provenance import build_provenance, find_tool_versions, read_tool_versions
from firmware_images.release_records import add_provenance
from firmware_images.release_view import read_release
from tests.firmware_images.release_parts import build_inputs, build_trust, signer

TOOLS = {"ampforge": "1.0", "esptool": "5.6.0"}


def digest(content: bytes) -> dict[str, str]:
    return {"sha256": hashlib.sha256(content).hexdigest()}


def build(tools=TOOLS) -> bytes:
    inputs = build_inputs(sources={"limits.toml": b"limits"})
    return build_bundle(add_provenance(inputs, materials={"limits": b"limits"}, tools=tools))


def test_every_other_part_is_named_by_its_digest_and_so_is_what_it_was_made_from():
    members = parse_archive(build())
    document = json.loads(members["provenance.json"])
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {entry["name"]: entry["digest"] for entry in document["subject"]} == {
        name: digest(content)
        for name, content in members.items()
        if name not in {"provenance.json", "statement.cbor"}
    }
    definition = document["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [{"name": "limits", "digest": digest(b"limits")}]
    assert definition["externalParameters"]["release_counter"] == 1


def test_the_same_tools_give_the_same_bundle_and_others_another_one():
    assert build() == build()
    newer = build(TOOLS | {"esptool": "5.7.0"})
    assert newer != build()
    diff = diff_bundles(read_release(build(), trust=None), read_release(newer, trust=None))
    (change,) = [change for change in diff.changes if change.section == "tools"]
    assert (change.what, change.before, change.after) == ("esptool", "5.6.0", "5.7.0")


def test_a_verified_bundle_holds_it():
    signed = sign_bundle(build(), [signer("release-1"), signer("release-3")])
    bundle = verify_bundle(signed, build_trust())
    assert read_tool_versions(bundle.provenance) == TOOLS


def test_a_stated_version_is_a_parameter():
    inputs = replace(build_inputs(), version="1.4.0")
    content = add_provenance(inputs, materials={}, tools=TOOLS).provenance
    assert content is not None
    document = json.loads(content)
    assert document["predicate"]["buildDefinition"]["externalParameters"]["version"] == "1.4.0"


def test_the_installed_tools_are_named():
    assert find_tool_versions().keys() == TOOLS.keys()


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b"[" * 100_000, b" " * 65537, b'{"predicate": {"runDetails": 1}}']
)
def test_what_is_no_provenance_names_no_tools(content):
    assert read_tool_versions(content) == {}


def test_a_provenance_of_another_builder_names_none_of_ours():
    content = build_provenance(parts={}, materials={}, parameters={}, tools=TOOLS)
    assert read_tool_versions(content) == TOOLS
    assert read_tool_versions(content.replace(b'urn:ampforge:bundle-build"', b'urn:x"')) == {}


@given(st.binary(max_size=100))
def test_any_bytes_name_no_tools(content):
    assert read_tool_versions(content) == {}
