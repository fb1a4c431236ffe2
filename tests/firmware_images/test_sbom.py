"""`sbom`: what a release is made of, as CycloneDX, checked by CycloneDX's own library."""

from __future__ import annotations

import hashlib
import json

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.errors import BundleError
from firmware_images.sbom import build_sbom, parse_sbom
from firmware_images.sbom_document import (
    COMPONENT_COUNT_MAX,
    DEPTH_MAX,
    SBOM_MAX_BYTES,
    SPEC_VERSIONS,
    SbomPart,
)

PARTS = (
    SbomPart(member="app.bin", name="flare", version="1.4.0", is_firmware=True, content=b"app"),
    SbomPart(
        member="waveform-table.bin", name="waveform table", version=None, is_firmware=False,
        content=b"table",
    ),
)  # fmt: skip
PROJECT = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
    "version": 3,
    "metadata": {
        "timestamp": "2026-11-01T10:00:00Z",
        "authors": [{"name": "somebody"}],
        "component": {"type": "application", "bom-ref": "flare-app", "name": "flare"},
    },
    "components": [
        {
            "type": "framework",
            "bom-ref": "esp-idf",
            "name": "esp-idf",
            "version": "5.5",
            "purl": "pkg:github/espressif/esp-idf@v5.5",
            "components": [
                {"type": "library", "bom-ref": "lwip", "group": "nongnu", "name": "lwip"}
            ],
        }
    ],
    "dependencies": [{"ref": "flare-app", "dependsOn": ["esp-idf"]}, {"ref": "esp-idf"}],
}


def build(project: object | None = None) -> bytes:
    parsed = None if project is None else parse_sbom(json.dumps(project).encode())
    return build_sbom(product="flare", version="1.4.0", parts=PARTS, project=parsed)


def find(document, ref):
    (component,) = [c for c in document["components"] if c["bom-ref"] == ref]
    return component


@pytest.mark.parametrize("project", [None, PROJECT])
def test_the_cyclonedx_library_accepts_and_reads_the_bill(project):
    content = build(project)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    bom = Bom.from_json(json.loads(content))
    assert bom.metadata.component.name == "flare"
    names = {component.name for component in bom.components}
    assert names >= {"flare", "waveform table"}
    assert bom.validate() in {None, True}


def test_the_project_s_components_stay_and_ours_come_with_their_digest():
    document = json.loads(build(PROJECT))
    app = find(document, "ampforge:app.bin")
    assert app["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"app").hexdigest()}]
    assert (app["type"], app["version"]) == ("firmware", "1.4.0")
    assert find(document, "ampforge:waveform-table.bin")["type"] == "data"
    assert find(document, "esp-idf")["components"][0]["name"] == "lwip"
    assert find(document, "flare-app")["name"] == "flare"
    uses = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    assert uses["ampforge:release"] == ["ampforge:app.bin", "ampforge:waveform-table.bin"]
    assert uses["ampforge:app.bin"] == ["flare-app"]
    assert uses["flare-app"] == ["esp-idf"]
    assert document["metadata"]["authors"] == [{"name": "somebody"}]


def test_a_bill_without_a_root_is_what_the_app_uses():
    project = {key: value for key, value in PROJECT.items() if key != "metadata"}
    project["dependencies"] = []
    document = json.loads(build(project))
    assert {"ref": "ampforge:app.bin", "dependsOn": ["esp-idf"]} in document["dependencies"]


def test_a_root_without_a_reference_gets_ours():
    project = PROJECT | {"metadata": {"component": {"type": "application", "name": "x"}}}
    document = json.loads(build(project))
    assert find(document, "ampforge:project")["name"] == "x"


def test_the_same_content_gives_the_same_bytes_and_serial_number_on_any_day():
    again = json.loads(json.dumps(PROJECT))
    again["metadata"]["timestamp"] = "2027-01-01T00:00:00Z"
    again["serialNumber"] = "urn:uuid:00000000-0000-4000-8000-000000000000"
    assert build(PROJECT) == build(again)
    again["components"][0]["version"] = "5.5.1"
    one, other = json.loads(build(PROJECT)), json.loads(build(again))
    assert one["serialNumber"] != other["serialNumber"]
    assert one["serialNumber"][len("urn:uuid:") + 14] == "8"
    assert "timestamp" not in one["metadata"]


def test_our_own_bill_is_not_merged_again():
    with pytest.raises(BundleError, match="already carries"):
        build(json.loads(build(PROJECT)))


def test_a_bill_that_grows_too_large_is_not_carried():
    long = [{"type": "library", "name": "x" * (SBOM_MAX_BYTES - 400)}]
    with pytest.raises(BundleError, match="when merged"):
        build(PROJECT | {"components": long, "dependencies": []})


def test_components_are_read_with_identity_and_digest():
    sbom = parse_sbom(build(PROJECT))
    by_ref = {component.ref: component for component in sbom.components}
    assert by_ref["ampforge:app.bin"].sha256 == hashlib.sha256(b"app").hexdigest()
    assert by_ref["lwip"].name == "nongnu/lwip"
    assert by_ref["esp-idf"].purl == "pkg:github/espressif/esp-idf@v5.5"


def with_(**changes):
    return json.dumps(PROJECT | changes).encode()


HEAD = '{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": '


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "a list outside"),
        (b"[" * 100_000, "not JSON"),
        (b'{"spdxVersion": "SPDX-2.3"}', "SPDX"),
        (b'{"bomFormat": "CycloneDX"}', "specVersion None"),
        (with_(specVersion="1.3"), "specVersion '1.3'"),
        (with_(specVersion=1.6), "specVersion 1.6"),
        (with_(extra=1), "a key 'extra'"),
        (with_(metadata=[]), "metadata that is no dict"),
        (with_(components={}), "components that is no list"),
        (with_(components=[1]), "component without type and name"),
        (with_(components=[{"type": "library", "name": ""}]), "component without type and name"),
        (with_(components=[{"type": "library", "name": "x", "version": 1}]), "version that is no"),
        (with_(components=[{"type": "library", "name": "x", "components": 1}]), "that are no list"),
        (with_(components=[{"type": "library", "name": "x", "hashes": 1}]), "hashes that are no"),
        (with_(components=PROJECT["components"] * 2), "two components with one bom-ref"),
        (with_(dependencies=["x"]), "dependency without ref"),
        (f'{HEAD}1, "version": 2}}'.encode(), "a key is there twice"),
        (f"{HEAD}NaN}}".encode(), "NaN is not a number"),
        (f"{HEAD}1e999}}".encode(), "out of range"),
        (f"{HEAD}{'9' * 5000}}}".encode(), "not JSON"),
        (f'{HEAD}"\\ud800"}}'.encode(), "half a surrogate"),
        (f"{HEAD}{'[' * DEPTH_MAX}{']' * DEPTH_MAX}}}".encode(), "nested deeper"),
        (b" " * (SBOM_MAX_BYTES + 1), "more than"),
        (
            with_(components=[{"type": "library", "name": "x"}] * (COMPONENT_COUNT_MAX + 1)),
            "more than 10000 components",
        ),
    ],
)
def test_what_is_no_bill_is_refused(content, message):
    with pytest.raises(BundleError, match="not a software bill of materials") as refused:
        parse_sbom(content, where="bill.json")
    assert message in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("version", SPEC_VERSIONS)
def test_the_versions_that_tools_write_are_read(version):
    assert parse_sbom(with_(specVersion=version)).components


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "components", "component", "type", "name", "hashes", "ref"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(PROJECT)), _JSON))
def test_any_bill_that_is_read_becomes_one_that_is_read_again(changes):
    try:
        project = parse_sbom(json.dumps(PROJECT | changes).encode())
    except BundleError:
        return
    content = build_sbom(product="flare", version="1.4.0", parts=PARTS, project=project)
    assert len(parse_sbom(content).components) >= len(PARTS)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_our_words(content):
    with pytest.raises(BundleError):
        parse_sbom(content)
