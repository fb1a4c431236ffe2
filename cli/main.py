"""The `ampforge` command: nouns are loaded only when they are used, so that help stays fast."""

from __future__ import annotations

import importlib
import io
import sys

import click

from cli.failures import run_and_exit
from cli.leaving import leave

# noun -> (module, attribute, one line for the overview). Help is printed from this table alone:
# importing fifteen command modules to list them would cost more than the whole time budget.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("cli.demo", "demo", "Run the whole line on simulated hardware, in about a minute."),
    "init": ("cli.init_command", "init", "Copy the example product here as a starting point."),
    "key": ("cli.key_commands", "group", "Make, list, revoke and rotate keys; ceremonies, drills."),
    "trust": ("cli.trust_commands", "group", "Sign and show the device trust record."),
    "policy": (
        "cli.policy_commands",
        "group",
        "Sign limits, approve a table, waive a limit.",
    ),
    "waveform": ("cli.waveform_commands", "group", "Check, analyze and compile waveforms."),
    "image": ("cli.image_commands", "group", "Inspect, sign and verify an ESP32 image."),
    "bundle": ("cli.bundle_commands", "group", "Build, sign and verify a release bundle."),
    "delta": ("cli.delta_commands", "group", "Make patches from one release to the next."),
    "station": ("cli.station_commands", "group", "Provision boards; simulate them."),
    "serials": ("cli.serials_commands", "group", "Say which serial numbers were given to what."),
    "ledger": ("cli.ledger_commands", "group", "Verify, back up, restore, upgrade the ledger."),
    "unit": ("cli.unit_commands", "group", "Show and export the record of one unit."),
    "calibration": (
        "cli.calibration_commands",
        "group",
        "Fit lines, state risks, try settings on simulated units.",
    ),
    "gauge": ("cli.gauge_commands", "group", "Tell the gauge's variation from that of the parts."),
    "capability": (
        "cli.capability_commands",
        "group",
        "State what a process can do: Cpk, yield, control charts.",
    ),
    "instrument": (
        "cli.instrument_commands",
        "group",
        "Register instruments; say which units one touched.",
    ),
    "repo": ("cli.repo_commands", "group", "Publish releases in a TUF repository."),
    "campaign": (
        "cli.campaign_commands",
        "group",
        "Say which devices get which release, and when.",
    ),
    "serve": ("cli.serve_commands", "serve", "Serve a published repository over HTTP."),
    "device": ("cli.device_commands", "group", "Update a device the way a device does."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when one of them is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the nouns in the order of the work, not of the alphabet."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one noun and return its command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module_name, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module_name), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the noun that is meant; of a mistyped one, say which it may have been."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # Click looks for a name that is close among the commands that it has, and ours are
            # not loaded yet.
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, without importing a single noun."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(noun, line) for noun, (_, _, line) in COMMANDS.items()])


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from signing.installed_version import find_version

        click.echo(f"ampforge {find_version('ampforge')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: ampforge demo   (no hardware needed)",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def ampforge() -> None:
    """From a waveform file to verified microamps and a signed field update."""


def main() -> None:
    """Run the command line and exit with the code that `cli.failures` assigns."""
    # A file name, or a terminal that cannot show a letter, must not turn a result into a traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        run_and_exit(ampforge, sys.argv[1:])
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0)
