"""Waivers on the command line: where they come from, and the lines that show them."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TableWaivers:
    """The waivers that a table is judged with.

    Attributes:
        counted: Those for this table that are in force.
        remarks: For a person, why each other one that is configured does not count, and whether
            nobody could verify who signed those that do.
    """

    counted: tuple[LimitWaiver, ...] = ()
    remarks: tuple[str, ...] = ()

    def lines(self, *, now: datetime) -> list[str]:
        """Return one line for each waiver, counted or not."""
        return [*format_waivers(self.counted, now=now), *self.remarks]

    def to_json(self) -> dict[str, object]:
        """Return the same as keys of a document for scripts."""
        return {
            "waivers": [waiver.to_json() for waiver in self.counted],
            "waiver_remarks": list(self.remarks),
        }


def find_table_waivers(
    defaults: ReleaseDefaults, paths: tuple[Path, ...], table_bytes: bytes, *, now: datetime
) -> TableWaivers:
    """Return the waivers to judge a table with: those given, else the configured that fit it.

    A waiver that was given has to count. A configured one belongs to the product's release, and
    the table at hand may be another, or a later draft of it: then it covers nothing, and is told.

    Raises:
        WaiverError: One that was given cannot be read, is for something else, or is not in force.
        SigningError: The policy role did not sign one.
    """
    from firmware_images.errors import WaiverError
    from firmware_images.waiver_files import load_waivers
    from firmware_images.waiver_judging import (
        order_waivers,
        refuse_foreign_waiver,
        refuse_out_of_force,
    )
    from signing.refusal import refusing_in

    chosen = paths or defaults.waivers()
    if not chosen:
        return TableWaivers()
    trust = defaults.trust_record()
    counted: list[LimitWaiver] = []
    remarks: list[str] = []
    for path in chosen:
        try:
            (loaded,) = load_waivers([path], trust=trust)
            with refusing_in(path):
                refuse_foreign_waiver(loaded.waiver, table_bytes)
                refuse_out_of_force([loaded.waiver], now=now)
        except WaiverError as error:
            if paths:
                raise
            remarks.append(f"NOT COUNTED {path}: {error.what}")
        else:
            counted.append(loaded.waiver)
    if counted and trust is None:
        remarks.append("NOT VERIFIED that the policy role signed: there is no trust record")
    return TableWaivers(counted=order_waivers(counted), remarks=tuple(remarks))


def format_waivers(waivers: Iterable[LimitWaiver], *, now: datetime) -> list[str]:
    """Return one line for each waiver."""
    from firmware_images.waiver_text import format_waiver

    return [format_waiver(waiver.to_json(), now=now) for waiver in waivers]
