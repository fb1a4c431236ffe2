"""The golden SUIT envelopes: the golden manifests, exported with the golden keys.

    python -m tests.manifests.golden_suit

writes them anew; do that only together with docs/spec/suit-export.md.
"""

from __future__ import annotations

from pathlib import Path

from manifests.suit_export import export_release
from manifests.suit_identity import SuitIdentity
from tests.manifests.golden_messages import RELEASE, golden_trust
from tests.manifests.test_device_messages import CONSTRAINED, MANIFEST

FOLDER = Path(__file__).parents[1] / "golden" / "suit"
IDENTITY = SuitIdentity(vendor_domain="flare.example", base_url="https://updates.flare.example")
RELATIVE = SuitIdentity(vendor_domain="flare.example")


def build() -> dict[str, bytes]:
    """Return each golden file's name and bytes."""
    return {
        "flare-1.5.0.suit": export_release(MANIFEST, IDENTITY, RELEASE, golden_trust()),
        "flare-1.7.0.suit": export_release(CONSTRAINED, RELATIVE, RELEASE, golden_trust()),
    }


if __name__ == "__main__":
    for file_name, content in build().items():
        (FOLDER / file_name).write_bytes(content)
