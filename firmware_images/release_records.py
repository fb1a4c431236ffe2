"""What a release says of its own making, for auditors: bill of materials and provenance.

Both are made of the very parts that the bundle carries, after they were compiled and judged. What
this module does not do: read files (`release_inputs`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.bundle_building import collect_parts
from firmware_images.bundle_contents import APP, BOOTLOADER, PARTITION_TABLE, POLICY, TABLE
from firmware_images.esp_image import inspect_image
from firmware_images.partitions import serialize_partition_table
from firmware_images.provenance import build_provenance
from firmware_images.sbom import build_sbom
from firmware_images.sbom_document import SbomPart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.bundle_building import BundleInputs
    from firmware_images.esp_image import EspImage
    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.sbom_document import Sbom


def add_sbom(
    inputs: BundleInputs, *, image: EspImage, policy: LimitsPolicy, project: Sbom | None
) -> BundleInputs:
    """Return the inputs with a bill of materials over every part.

    Args:
        inputs: All other parts.
        image: The app's facts.
        policy: The limits policy.
        project: The bill of the project's build, if there is one.
    """
    # A release without a version is refused when the bundle is built.
    version = inputs.version or image.version or "unknown"
    parts = [
        SbomPart(
            member=APP,
            name=image.project_name or "app",
            version=version,
            is_firmware=True,
            content=inputs.app,
        ),
        SbomPart(
            member=TABLE,
            name="waveform table",
            version=version,
            is_firmware=False,
            content=inputs.table,
        ),
        SbomPart(
            member=POLICY,
            name=policy.name,
            version=str(policy.version),
            is_firmware=False,
            content=inputs.policy,
        ),
        SbomPart(
            member=PARTITION_TABLE,
            name="partition table",
            version=None,
            is_firmware=False,
            content=serialize_partition_table(inputs.partition_table),
        ),
    ]
    if inputs.bootloader is not None:
        bootloader = inspect_image(inputs.bootloader, where=BOOTLOADER)
        parts.append(
            SbomPart(
                member=BOOTLOADER,
                name=bootloader.project_name or "bootloader",
                version=bootloader.version,
                is_firmware=True,
                content=inputs.bootloader,
            )
        )
    content = build_sbom(product=inputs.product, version=version, parts=parts, project=project)
    return replace(inputs, sbom=content)


def add_provenance(
    inputs: BundleInputs, *, materials: Mapping[str, bytes], tools: Mapping[str, str]
) -> BundleInputs:
    """Return the inputs with a provenance over every part.

    Args:
        inputs: All other parts.
        materials: The content of each file that they were made from, by the input's name.
        tools: Version by tool.
    """
    parameters: dict[str, str | int] = {
        "product": inputs.product,
        "release_counter": inputs.release_counter,
        "hardware_class": inputs.hardware_class,
        "hardware_revision_min": inputs.hardware_revision_min,
        "hardware_revision_max": inputs.hardware_revision_max,
        "chip": inputs.chip,
        "flash_size_bytes": inputs.flash_size_bytes,
    }
    if not inputs.constraints.is_empty:
        parameters["minimum_current_counter"] = inputs.constraints.minimum_current_counter
        parameters["support_ends_at_s"] = inputs.constraints.support_ends_at_s
    if inputs.version is not None:
        parameters["version"] = inputs.version
    content = build_provenance(
        parts=collect_parts(inputs), materials=materials, parameters=parameters, tools=tools
    )
    return replace(inputs, provenance=content)
