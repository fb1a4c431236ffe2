"""Options that the waveform verbs share."""

from __future__ import annotations

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
