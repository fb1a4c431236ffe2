"""Options that the waveform verbs share."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import click

from cli.params import EXISTING_FILE

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
