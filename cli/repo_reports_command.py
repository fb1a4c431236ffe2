"""`ampforge repo forward-reports`: what devices said to this server, told to another."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli.configuration import load_configuration
from cli.failures import UsageRefusal, printable
from cli.output import count_of, print_result
from cli.params import DAY, EXISTING_FILE, config_option, json_option, server_url_option
from cli.progress import showing_progress

if TYPE_CHECKING:
    from pathlib import Path

    from manifests.report_forwarding import ForwardedReports

EXIT_NOT_ALL_TAKEN = 4
SHOWN_MAX = 10


@click.command(
    "forward-reports",
    epilog="Example: ampforge repo forward-reports --url https://updates.example.com",
)
@server_url_option(text="The other server.", required=True)
@click.option(
    "--reports",
    "reports_path",
    type=EXISTING_FILE,
    help="Where this server keeps its reports (default: [serve] reports).",
)
@click.option(
    "--since",
    type=DAY,
    help="Only reports that came on this day or later, UTC.",
)
@config_option
@json_option
def forward_reports(
    *,
    url: str,
    reports_path: Path | None,
    since: datetime | None,
    config_path: Path | None,
    as_json: bool,
) -> None:
    """Send the device reports that this server took to another one.

    For a server on a site of its own whose maker wants to hear of its devices. Each report is
    signed by its device, and stored once however often it is sent: run it again after a failure, or
    each night with the day that the last run names. Exit code 4 if the other server did not take
    all of them.
    """
    from cli.repository_files import reports_path_of
    from manifests.fleet import FleetStore
    from manifests.http_transport import HttpTransport
    from manifests.report_database_file import refuse_other_kind
    from manifests.report_forwarding import forward_reports as forward

    if reports_path is None:
        reports_path = reports_path_of(load_configuration(config_path))
        if not reports_path.is_file():
            raise UsageRefusal(
                "no device reports lie here",
                expected="the database of `ampforge serve`",
                where=reports_path,
                hint="run it in the folder of the server, or name the file with --reports",
            )
    refuse_other_kind(reports_path)
    since_s = 0 if since is None else int(since.replace(tzinfo=UTC).timestamp())
    with (
        closing(FleetStore(reports_path)) as fleet,
        closing(HttpTransport(url)) as transport,
        showing_progress("forwarding reports", as_json=as_json) as show,
    ):
        total = fleet.count_messages(since_s=since_s)

        def wait(wait_s: int) -> None:
            show.say(
                f"the other server is asked too often, going on in {count_of(wait_s, 'second')}"
            )
            time.sleep(wait_s)

        done = forward(
            fleet.read_messages(since_s=since_s),
            transport,
            on_progress=lambda count: show(count, total),
            wait=wait,
        )
    print_result(_describe(done, url), _format(done, url), as_json=as_json)
    if done.refused or done.waiting:
        raise click.exceptions.Exit(EXIT_NOT_ALL_TAKEN)


def _describe(done: ForwardedReports, url: str) -> dict[str, Any]:
    return {
        "schema": "ampforge.forwarded-reports/1",
        "url": url,
        "stored": done.stored,
        "known": done.known,
        "refused": done.refused,
        "waiting": done.waiting,
        "refusals": [
            {"serial_number": serial, "text": printable(text)} for serial, text in done.refusals
        ],
        "next_since": _day_of(done.next_since_s),
    }


def _format(done: ForwardedReports, url: str) -> str:
    counts = (
        f"{done.stored} new there",
        f"{done.known} known",
        f"{done.refused} refused",
        f"{done.waiting} to be sent again",
    )
    lines = [f"{count_of(done.total, 'report')} forwarded to {url}", f"  {', '.join(counts)}"]
    lines += [f"  ✗ {serial}: {printable(text)}" for serial, text in done.refusals[:SHOWN_MAX]]
    if done.refused > SHOWN_MAX:
        lines.append(f"  … and {done.refused - SHOWN_MAX} more (--json names up to 100)")
    day = _day_of(done.next_since_s)
    if day is not None:
        lines.append(f"  the next time: --since {day}")
    return "\n".join(lines)


def _day_of(time_s: int | None) -> str | None:
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")
