"""The components of a bill of materials, as a comparison states them.

What the bundle itself adds to the bill is left out: those are the bundle's parts, and compared as
such.
"""

from __future__ import annotations

from firmware_images.bundle_contents import SBOM
from firmware_images.errors import BundleError
from firmware_images.sbom_document import OWN_PREFIX, parse_sbom


def state_components(content: bytes | None) -> dict[str, dict[str, int | str | bool | None]]:
    """Return what a bill says of each component, by name.

    Two components of one name are told apart by a number. A bundle may carry a bill that cannot
    be read; that is then what is said, under the name of the part.

    Args:
        content: The bill, or `None` for a bundle without one.
    """
    if content is None:
        return {}
    try:
        sbom = parse_sbom(content, where=SBOM)
    except BundleError as error:
        return {SBOM: {"problem": str(error)}}
    stated: dict[str, dict[str, int | str | bool | None]] = {}
    counts: dict[str, int] = {}
    for component in sbom.components:
        if component.ref is not None and component.ref.startswith(OWN_PREFIX):
            continue
        counts[component.name] = count = counts.get(component.name, 0) + 1
        subject = component.name if count == 1 else f"{component.name} ({count})"
        stated[subject] = {
            "version": component.version,
            "purl": component.purl,
            "sha256": component.sha256,
        }
    return stated
