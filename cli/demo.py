"""`ampforge demo`: the whole line on simulated hardware, from a waveform file to a field update.

The one place where every package meets. Nothing here decides anything: each act is the function
that the commands of the same name call, on the files that a product would have.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.failures import UnitFailed, UsageRefusal
from cli.output import print_result
from cli.params import FOLDER, json_option

if TYPE_CHECKING:
    from rich.console import Console

MARK_NAME = ".made-by-ampforge-demo"
DEFAULT_FOLDER = Path("ampforge-demo")
DEFAULT_SEED = 7
BOARDS_MAX = 16


@click.command(epilog="Example: ampforge demo --boards 4 --output ampforge-demo")
@click.option(
    "-o",
    "--output",
    "folder",
    type=FOLDER,
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder for all that the demo makes; an earlier demo's is replaced.",
)
@click.option(
    "--boards", type=click.IntRange(1, BOARDS_MAX), default=4, show_default=True, help="How many."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 9999),
    default=DEFAULT_SEED,
    show_default=True,
    help="What the simulated boards and meters are drawn from.",
)
@json_option
def demo(*, folder: Path, boards: int, seed: int, as_json: bool) -> None:
    """Run Ampforge's main job with simulated boards: no hardware, about half a minute.

    A release is built from an ESP32-C3 application and a waveform file and signed; boards are
    flashed, get serial, identity and calibration, are verified in microamps, and update themselves
    over HTTP to a second release; three things that must not happen are refused.
    """
    from rich.console import Console

    prepare_folder(folder)
    console = Console(stderr=as_json, quiet=as_json, highlight=False, soft_wrap=True)
    document = run_demo(folder.absolute(), console, board_count=boards, seed=seed, as_json=as_json)
    if as_json:
        print_result(document, as_json=True)
    if document["passed"] != boards or document["updated"] != boards:
        raise UnitFailed


def prepare_folder(folder: Path) -> None:
    """Make the demo's folder; replace it only if an earlier demo made it.

    Raises:
        UsageRefusal: There is something in it that no demo made.
    """
    if folder.exists():
        if not (folder / MARK_NAME).is_file() and any(folder.iterdir()):
            raise UsageRefusal(
                "the demo's folder has something else in it",
                expected="a new folder, or one that an earlier demo made",
                where=folder,
                hint="name another one: `ampforge demo --output NAME`",
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
        (folder / MARK_NAME).touch()
    except OSError as error:
        raise UsageRefusal(
            "the demo's folder cannot be made",
            got=error.strerror,
            where=folder,
            hint="name another one: `ampforge demo --output NAME`",
        ) from error


def run_demo(
    folder: Path, console: Console, *, board_count: int, seed: int, as_json: bool
) -> dict[str, object]:
    """Tell the story and leave its files; returns what came of it (`ampforge.demo/1`).

    Args:
        folder: An empty folder.
        console: Where the story is told.
        board_count: Simulated boards.
        seed: What they are drawn from.
        as_json: Whether the result is printed as JSON, so that nothing is drawn.
    """
    from cli.demo_factory import FactoryFloor
    from cli.demo_field import update_boards
    from cli.demo_refusals import show_refusals
    from cli.demo_release import make_product
    from cli.demo_report import results_table, write_report

    started_s = time.monotonic()
    product = make_product(folder, console)
    floor = FactoryFloor(product, console, board_count=board_count, seed=seed)
    with floor.power_on() as line:
        day = floor.provision(line, as_json=as_json)
        updates = update_boards(product, line, console)
        refusals = show_refusals(product, line, console)
    report = write_report(product, day, updates)
    wall_s = time.monotonic() - started_s
    console.rule("[bold]What came of it")
    console.print(results_table(day, updates), soft_wrap=False)
    console.print(f"[bold]{wall_s:.0f} s.[/] Everything is in {folder}:")
    console.print(f"  {report.name:<12} the report, with its plots: open it in a browser")
    console.print("  README.txt   what each file is, and commands to look around with")
    return {
        "schema": "ampforge.demo/1",
        "folder": str(folder),
        "report": str(report),
        "station_run": day.document,
        "updates": [update.document for update in updates],
        "refusals": [refusal.document for refusal in refusals],
        "passed": sum(unit.is_passed for unit in day.units),
        "updated": sum(update.is_installed for update in updates),
        "wall_s": round(wall_s, 1),
    }
