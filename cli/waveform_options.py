"""Options that the verbs about waveforms, and about the limits on them, share."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeVar

import click

from cli.failures import UsageRefusal
from cli.params import EXISTING_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from firmware_images.waveform_files import CsvMode

Command = TypeVar("Command", bound="Callable[..., object]")

limits_option = click.option(
    "--limits",
    "limits_path",
    type=EXISTING_FILE,
    help="Limits policy, TOML (default: [release] limits).",
)
hardware_class_option = click.option(
    "--hardware-class", help="Boards it is for (default: [product] hardware_class)."
)
waveform_argument = click.argument("waveform_path", type=EXISTING_FILE, required=False)


class DecimalType(click.ParamType[Decimal]):
    """A plain decimal number."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Return the number, or fail as Click does."""
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not number.is_finite():
            self.fail(f"{value!r} is not finite", param, ctx)
        return number


def csv_mode_options(command: Command) -> Command:
    """Add the options that say of a CSV file what it does not say itself."""
    for option in (
        click.option(
            "--session-s",
            type=DecimalType(),
            help="For a CSV file: the session (default: the longest).",
        ),
        click.option(
            "--tick-us", type=click.IntRange(1, 1_000_000), help="For a CSV file: its tick, µs."
        ),
        click.option("--mode", "mode_name", help="For a CSV file: the mode it is."),
    ):
        command = option(command)
    return command


def build_csv_mode(
    path: Path, mode_name: str | None, tick_us: int | None, session_s: Decimal | None
) -> CsvMode | None:
    """Return what those options say, or `None` unless both mode and tick are given.

    Raises:
        UsageRefusal: When any is given for a file that says so itself.
    """
    from firmware_images.waveform_files import CsvMode

    if path.suffix.lower() != ".csv" and (mode_name, tick_us, session_s) != (None, None, None):
        raise UsageRefusal(
            "only a CSV file needs to be told its mode, tick and session",
            expected="a .csv file, or neither --mode, --tick-us nor --session-s",
            got=path.name,
            where=path,
            hint="leave the options out: every mode and level of this file is judged",
        )
    if mode_name is None or tick_us is None:
        return None
    return CsvMode(name=mode_name, tick_us=tick_us, session_s=session_s)
