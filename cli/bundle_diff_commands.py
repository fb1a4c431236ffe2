"""`ampforge bundle diff`: what changed from one release to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.bundle_files import find_trust_anywhere, read_bundle, trust_option
from cli.clock import utc_now
from cli.output import print_result
from cli.params import EXISTING_FILE, config_option, json_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "diff",
    epilog="Example: ampforge bundle diff flare-1.4.0.bundle.zip flare-1.5.0.bundle.zip",
)
@click.argument("before_path", metavar="BEFORE", type=EXISTING_FILE)
@click.argument("after_path", metavar="AFTER", type=EXISTING_FILE)
@trust_option
@config_option
@json_option
def diff(
    *,
    before_path: Path,
    after_path: Path,
    trust_path: Path | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Explain a release to its reviewer: everything that is not as in an earlier one.

    Either may still be unsigned. Whether each verifies is said when there is a trust record.
    """
    from cli.bundle_diff_output import format_diff
    from firmware_images.bundle_diff import diff_bundles
    from firmware_images.release_view import read_release

    trust = find_trust_anywhere(config_path, trust_path)
    before, after = (
        read_release(read_bundle(path), trust=trust, where=str(path))
        for path in (before_path, after_path)
    )
    changes = diff_bundles(before, after)
    print_result(changes.to_json(), format_diff(changes, now=utc_now()), as_json=as_json)
