"""`ampforge device`: update a device the way a device does, and ask one what it runs."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.clock import utc_now
from cli.configuration import has_configuration, load_configuration
from cli.device_output import (
    as_text,
    describe_approved,
    describe_simulated,
    format_info,
    format_update,
)
from cli.failures import UsageRefusal
from cli.noun_group import NounGroup
from cli.output import print_result
from cli.params import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FOLDER,
    config_option,
    json_option,
    server_url_option,
)
from cli.station_access import read_file
from signing.input_file import read_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.transfer import Fetch, Transport
    from manifests.update_outcome import UpdateOutcome, UpdateRules
    from provisioning.device_link import DeviceLink
    from provisioning.simulator.board import SimulatedBoard

BOARD_FILE = "board.json"
BOARD_FILE_MAX_BYTES = 4096
SESSIONS_MAX = 3
"""Install and switch, confirm after the boot, and one more when the boot went back."""
READY_TIMEOUT_S = 8.0


@click.group(cls=NounGroup)
def group() -> None:
    """Update a device the way a device does, and ask one what it runs."""


@group.command(
    "update",
    epilog="Example: ampforge device update --board station/simulated-line/board-1 "
    "--url http://127.0.0.1:8470",
)
@server_url_option(text="Server with the published repository.", required=True)
@click.option("--board", "board_folder", type=EXISTING_FOLDER, help="Folder of a simulated board.")
@click.option("--gateway", is_flag=True, help="Relay to a board on --port, verified by TUF first.")
@click.option("--port", help="Serial port or rfc2217:// URL of the board, with --gateway.")
@click.option(
    "--root",
    "root_path",
    type=EXISTING_FILE,
    help="Trusted TUF root, with --gateway (default: the one of [repository] folder).",
)
@click.option(
    "--cache", type=FOLDER, help="What the gateway verified (default: .ampforge-gateway here)."
)
@click.option("--reinstall", is_flag=True, help="Install the release that it has once more.")
@config_option
@json_option
def update(
    *,
    url: str,
    board_folder: Path | None,
    gateway: bool,
    port: str | None,
    root_path: Path | None,
    cache: Path | None,
    reinstall: bool,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Install the release that is assigned to a device, boot it, and have it confirmed.

    A board with a network of its own asks the server (--board). A board without one is served by
    a gateway over its serial link (--gateway --port): the gateway verifies everything by TUF, and
    the board verifies everything again.
    """
    if gateway == (board_folder is not None):
        raise UsageRefusal(
            "it is not clear which board to update",
            expected="--board FOLDER, or --gateway with --port",
            hint="see `ampforge device update --help`",
        )
    report = _Progress(is_quiet=as_json)
    if board_folder is not None:
        from manifests.http_transport import HttpTransport

        rules = load_update_rules(config_path, allows_reinstall=reinstall)
        with (
            closing(HttpTransport(url)) as transport,
            closing(open_simulated_board(board_folder)) as board,
        ):
            document = update_board(board, transport, rules, on_fetch=report)
    else:
        if port is None or reinstall:
            raise UsageRefusal(
                "a gateway serves a board on a port, and cannot make it install again",
                expected="--gateway --port URL, without --reinstall",
                got="no --port" if port is None else "--reinstall",
                hint="see `ampforge device update --help`",
            )
        from manifests.gateway import ROOT_MAX_BYTES

        root = read_file(root_path or _default_root(config_path), max_bytes=ROOT_MAX_BYTES)
        folder = cache or Path(".ampforge-gateway")
        document = update_through_gateway(url, port, root, folder, on_fetch=report)
    print_result(document, format_update(document), as_json=as_json)


@group.command("info", epilog="Example: ampforge device info --port /dev/ttyUSB0")
@click.option("--port", help="Serial port or rfc2217:// URL of the board.")
@click.option("--board", "board_folder", type=EXISTING_FOLDER, help="Folder of a simulated board.")
@json_option
def info(*, port: str | None, board_folder: Path | None, as_json: bool) -> None:
    """Show what a board says that it is and runs. Nothing of it is verified."""
    if (port is None) == (board_folder is None):
        raise UsageRefusal(
            "it is not clear which board to ask",
            expected="--port URL or --board FOLDER",
            got="neither" if port is None else "both",
            hint="see `ampforge device info --help`",
        )
    if board_folder is not None:
        with closing(open_simulated_board(board_folder)) as board:
            document = describe_simulated(board)
    else:
        assert port is not None
        document = _with_link(port, lambda link: as_text(link.read_info().model_dump()))
        for name in ("header", "version", "sequence", "smp_data"):
            document.pop(name, None)
    print_result(document, format_info(document), as_json=as_json)


def open_simulated_board(folder: Path) -> SimulatedBoard:
    """Open a simulated board from its folder, and boot it.

    Raises:
        UsageRefusal: The folder is not a board's.
    """
    from provisioning.simulator.board import SimulatedBoard

    path = folder / BOARD_FILE
    try:
        facts = json.loads(read_input(path, BOARD_FILE_MAX_BYTES))
        seed, index = int(facts["seed"]), int(facts["index"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageRefusal(
            "the folder is not that of a simulated board",
            expected=f"a folder with {BOARD_FILE}, as `ampforge station simulate` makes it",
            got=(error.strerror if isinstance(error, OSError) else None) or f"another {BOARD_FILE}",
            where=path,
            hint="name the folder of one board, such as station/simulated-line/board-1",
        ) from error
    return SimulatedBoard(folder, seed, index, now=utc_now)


def update_board(
    board: SimulatedBoard,
    transport: Transport,
    rules: UpdateRules,
    *,
    on_fetch: Callable[[Fetch], None] = lambda _: None,
) -> dict[str, object]:
    """Run a simulated board's own updater until the update is settled, over its reboots.

    Args:
        board: The board; it runs its application.
        transport: Where bytes come from.
        rules: What the updater keeps to.
        on_fetch: Called before each wish of the board is carried out.

    Returns:
        The outcome as a document (`ampforge.device-update/1`).

    Raises:
        Refusal: What the board refused, or could not get.
    """
    from cli.board_update import as_update_device, running_image
    from manifests.transfer import run_session
    from manifests.update_outcome import UpdateResult
    from manifests.updater import update_device

    before = running_image(board).version
    outcomes: list[UpdateOutcome] = []
    for _ in range(SESSIONS_MAX):
        session = update_device(as_update_device(board), rules)
        outcomes.append(run_session(session, transport, on_fetch=on_fetch))
        if outcomes[-1].result is not UpdateResult.REBOOT_NEEDED:
            break
        board.power_cycle()
    return {
        "schema": "ampforge.device-update/1",
        "result": str(outcomes[-1].result),
        "message": outcomes[-1].message,
        "release_counter": outcomes[-1].release_counter,
        "is_report_due": outcomes[-1].is_report_due,
        "version_before": before,
        "version_after": running_image(board).version,
        "approved_waivers": describe_approved(board),
    }


def update_through_gateway(
    url: str,
    port: str,
    root: bytes,
    cache: Path,
    *,
    on_fetch: Callable[[Fetch], None] = lambda _: None,
) -> dict[str, object]:
    """Verify a repository by TUF, and relay it to a board on a serial port.

    Args:
        url: The server.
        port: Serial port or rfc2217:// URL of the board.
        root: The trusted TUF root.
        cache: Folder for what was verified.
        on_fetch: Called before each wish of the board is carried out.

    Raises:
        TransportError: The server cannot be reached, or what it shows does not verify.
        UpdateRefusedError: The board refused.
        ProvisioningError: The link died.
    """
    from cli.gateway_relay import relay_update
    from firmware_images.release_constraints import describe_constraints
    from manifests.gateway import Gateway

    with closing(Gateway(url, trusted_root=root, cache=cache)) as gateway:
        gateway.refresh()
        document = _with_link(port, lambda link: relay_update(link, gateway, on_fetch=on_fetch))
        return (
            document
            | {"waivers": list(gateway.waivers)}
            | describe_constraints(gateway.constraints)
        )


def _with_link(port: str, act: Callable[[DeviceLink], dict[str, object]]) -> dict[str, object]:
    from provisioning.device_link import DeviceLink
    from provisioning.serial_port import open_port

    with closing(open_port(port)) as opened:
        link = DeviceLink(opened, where=port)
        link.wait_until_ready(timeout_s=READY_TIMEOUT_S)
        return act(link)


def load_update_rules(config_path: Path | None, *, allows_reinstall: bool) -> UpdateRules:
    """Return the rules of `[update]`; the defaults where there is no `ampforge.toml`."""
    from manifests.manifests_settings import UpdateSettings
    from manifests.update_outcome import UpdateRules

    settings = UpdateSettings()
    if config_path is not None or has_configuration():
        configuration = load_configuration(config_path)
        if configuration.has_section("update"):
            settings = configuration.section("update", UpdateSettings)
    return UpdateRules(
        minimum_battery_percent=settings.minimum_battery_percent, allows_reinstall=allows_reinstall
    )


def _default_root(config_path: Path | None) -> Path:
    from cli.repository_files import load_repository_settings

    path: Path | None = None
    # A gateway's machine has the root alone, and no product folder.
    if config_path is not None or has_configuration():
        configuration = load_configuration(config_path)
        folder = configuration.resolve(load_repository_settings(configuration).folder)
        path = folder / "metadata" / "1.root.json"
    if path is None or not path.is_file():
        raise UsageRefusal(
            "there is no TUF root to trust",
            expected="--root FILE, from a trusted place and not from the server",
            where=path,
            hint="bring 1.root.json from whoever made the repository with `ampforge repo init`",
        )
    return path


class _Progress:
    """One line on the terminal for each resource that is fetched."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._last = ""

    def __call__(self, fetch: Fetch) -> None:
        if self._is_quiet or fetch.path == self._last:
            return
        self._last = fetch.path
        verb = "post" if fetch.body is not None else "get "
        click.echo(f"  {verb} {fetch.path}", err=True)
