"""The demo's third act: releases are published, and the boards update themselves over HTTP."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.clock import utc_second
from cli.demo_release import FIRST_VERSION, SECOND_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from cli.demo_release import DemoProduct
    from manifests.publishing import Publisher
    from provisioning.simulator.board import SimulatedBoard
    from provisioning.simulator.line import SimulatedLine, SimulatedSlot

OLD_REPOSITORY = "repository-as-it-was"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardUpdate:
    """How one board came from one release to the next.

    Attributes:
        slot: Number of the slot, from 1.
        way: `itself` over HTTP, or `gateway`.
        document: As `device update --json` prints it.
    """

    slot: int
    way: str
    document: dict[str, object]

    @property
    def is_installed(self) -> bool:
        """Whether the board runs the release and proved it."""
        return self.document["result"] == "installed"


def update_boards(
    product: DemoProduct, line: SimulatedLine, console: Console
) -> tuple[BoardUpdate, ...]:
    """Publish both releases, and let every board update itself; the last one by a gateway."""
    console.rule("[bold]3  The field: a signed release, over HTTP, to every board")
    publisher = _make_repository(product)
    repository = repository_folder(product)
    _publish(publisher, product, FIRST_VERSION)
    with serve(product, repository) as url:
        _check_in(line, url)
    # What an attacker could have kept: everything as it was signed for the first release.
    shutil.copytree(repository, product.folder / OLD_REPOSITORY)
    _publish(publisher, product, SECOND_VERSION)
    console.print(
        f"published {FIRST_VERSION}, then [bold]{SECOND_VERSION}[/]: TUF metadata for gateways, "
        "COSE manifest and assignment for the boards"
    )
    with serve(product, repository) as url:
        console.print(f"serving at {url}")
        updates = _update_all(product, line, url)
    for update in updates:
        document = update.document
        console.print(
            f"board {update.slot} ({'by gateway' if update.way == 'gateway' else 'by itself'}): "
            f"{document['version_before']} -> [bold]{document['version_after']}[/], "
            "booted, tested itself, confirmed"
            if update.is_installed
            else f"board {update.slot}: {document['result']}: {document['message']}"
        )
    console.print(f"{_count_reports(product)} device-signed reports stored")
    return updates


def repository_folder(product: DemoProduct) -> Path:
    """Where the product's repository lies."""
    from cli.repository_files import load_repository_settings

    return product.configuration.resolve(load_repository_settings(product.configuration).folder)


@contextmanager
def serve(product: DemoProduct, repository: Path) -> Iterator[str]:
    """Serve a repository folder as `ampforge serve` does, on a free port; gives the URL."""
    from dataclasses import replace

    from cli.serve_commands import load_server_plan
    from manifests.server import serve_in_background

    plan = load_server_plan(product.configuration, host=None, port=None, passphrase=_no_passphrase)
    with serve_in_background(replace(plan, folder=repository, port=0)) as url:
        yield url


def update_by_itself(board: SimulatedBoard, url: str) -> dict[str, object]:
    """Run the board's own updater against a server, over its reboots."""
    from cli.device_commands import update_board
    from manifests.http_transport import HttpTransport
    from manifests.update_outcome import UpdateRules

    with closing(HttpTransport(url)) as transport:
        return update_board(board, transport, UpdateRules())


def _update_all(product: DemoProduct, line: SimulatedLine, url: str) -> tuple[BoardUpdate, ...]:
    last = len(line.slots)

    def update(numbered: tuple[int, SimulatedSlot]) -> BoardUpdate:
        number, slot = numbered
        if number == last and last > 1:
            document = _update_by_gateway(product, slot, url)
            return BoardUpdate(slot=number, way="gateway", document=document)
        document = update_by_itself(slot.board, url)
        return BoardUpdate(slot=number, way="itself", document=document)

    with ThreadPoolExecutor(max_workers=last) as pool:
        return tuple(pool.map(update, enumerate(line.slots, start=1)))


def _update_by_gateway(product: DemoProduct, slot: SimulatedSlot, url: str) -> dict[str, object]:
    from cli.device_commands import update_through_gateway

    root = (repository_folder(product) / "metadata" / "1.root.json").read_bytes()
    return update_through_gateway(url, slot.port_url, root, product.folder / "gateway-cache")


def _check_in(line: SimulatedLine, url: str) -> None:
    for slot in line.slots:
        update_by_itself(slot.board, url)


def _make_repository(product: DemoProduct) -> Publisher:
    from cli.repository_files import open_publisher
    from manifests.repository import init_repository
    from manifests.tuf_metadata import SIGNING_ROLES

    publisher = open_publisher(
        product.configuration, SIGNING_ROLES.values(), passphrase=_no_passphrase
    )
    init_repository(
        publisher.store,
        publisher.trust,
        publisher.signers,
        publisher.settings,
        now=utc_second(),
        allows_test_keys=True,
    )
    return publisher


def _publish(publisher: Publisher, product: DemoProduct, version: str) -> None:
    content = product.bundle_path(version).read_bytes()
    publisher.publish_bundle(content, None, now=utc_second())


def _count_reports(product: DemoProduct) -> int:
    from cli.repository_files import load_serve_settings
    from manifests.fleet import FleetStore

    path = product.configuration.resolve(load_serve_settings(product.configuration).reports)
    with closing(FleetStore(path)) as fleet:
        return len(fleet.list_reports())


def _no_passphrase(key: str) -> bytes:
    raise AssertionError(f"the demo's keys are not encrypted: {key}")
