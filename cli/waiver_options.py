"""Waivers on the command line: where they come from, and the lines that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.params import EXISTING_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from cli.release_defaults import ReleaseDefaults
    from firmware_images.waiver import LimitWaiver
    from signing.trust_record import TrustRecord

waivers_option = click.option(
    "--waiver",
    "waiver_paths",
    type=EXISTING_FILE,
    multiple=True,
    help="Signed waiver of one limit; may repeat (default: [release] waivers).",
)


def load_waivers_in_force(
    defaults: ReleaseDefaults,
    paths: tuple[Path, ...],
    *,
    trust: TrustRecord | None,
    now: datetime,
) -> tuple[LimitWaiver, ...]:
    """Return the waivers that are given or configured, if all of them are in force.

    Raises:
        WaiverError: One cannot be read, or is not in force.
        SigningError: The policy role did not sign one.
    """
    from firmware_images.waiver_files import load_waivers
    from firmware_images.waiver_judging import refuse_out_of_force

    loaded = load_waivers(paths or defaults.waivers(), trust=trust)
    waivers = tuple(entry.waiver for entry in loaded)
    refuse_out_of_force(waivers, now=now)
    return waivers


def format_waivers(waivers: Iterable[LimitWaiver], *, now: datetime) -> list[str]:
    """Return one line for each waiver."""
    from firmware_images.waiver_text import format_waiver

    return [format_waiver(waiver.to_json(), now=now) for waiver in waivers]
