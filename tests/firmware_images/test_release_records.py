"""`release_records`: what a release says of its own making."""

from __future__ import annotations

import hashlib
import json

import pytest

from firmware_images.bundle_archive import parse_archive
from firmware_images.bundle_building import build_bundle
from firmware_images.esp_image import inspect_image
from firmware_images.limits import parse_policy
from firmware_images.release_records import add_sbom
from firmware_images.sbom import parse_sbom
from tests.firmware_images.release_parts import APP_1_4_0, FOREIGN_APP, build_inputs


@pytest.mark.parametrize(
    ("bootloader", "name"), [(None, None), (FOREIGN_APP, "hello_world"), (APP_1_4_0, "flare")]
)
def test_the_bill_lists_every_part_with_its_digest(bootloader, name):
    content = None if bootloader is None else bootloader.read_bytes()
    inputs = build_inputs(bootloader=content)
    described = add_sbom(
        inputs,
        image=inspect_image(inputs.app, where="app.bin"),
        policy=parse_policy(inputs.policy),
        project=None,
    )
    assert described.sbom is not None
    stated = {c.ref.removeprefix("ampforge:"): c for c in parse_sbom(described.sbom).components}
    assert stated["app.bin"].version == "1.4.0"
    assert stated["limits-policy.cbor"].name == "test-limits"
    assert ("bootloader.bin" in stated) is (content is not None)
    if content is not None:
        assert stated["bootloader.bin"].name == name
        assert stated["bootloader.bin"].sha256 == hashlib.sha256(content).hexdigest()


def test_a_bundle_carries_the_bill_as_it_is():
    inputs = build_inputs()
    described = add_sbom(
        inputs,
        image=inspect_image(inputs.app, where="app.bin"),
        policy=parse_policy(inputs.policy),
        project=None,
    )
    carried = parse_archive(build_bundle(described))["sbom.json"]
    assert carried == described.sbom
    assert json.loads(carried)["metadata"]["component"]["name"] == "flare"
