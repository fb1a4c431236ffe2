"""A gateway is killed, or the board behind it loses its power, at any moment of an update.

Another gateway begins anew, with or without the cache of the first: the board goes on from what
lies in its flash, and ends as after an update that nobody disturbed.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cli.gateway_relay
from cli.board_update import make_update_session
from cli.device_commands import update_through_gateway
from firmware_images.device_record import DeviceRecord
from firmware_images.otadata import OtaState, read_otadata, select_boot
from provisioning.errors import ProvisioningError
from provisioning.simulator.faults import FaultPlan
from provisioning.simulator.flash import NorFlash
from provisioning.simulator.line import SimulatedLine
from tests.conftest import IS_SOAK
from tests.manifests.test_device_commands import (  # noqa: F401 - fixtures
    SEED,
    config,
    finish_board,
    product,
    repository,
    run,
    url,
)
from tests.reliability_page import figures

ROOT = Path(__file__).parents[2]
SAMPLED_KILLS, SAMPLED_CUTS = 6, 6
SESSIONS = 2
WHOLE = ("ota_0", "ota_1", "wave_0", "wave_1")


@pytest.fixture(scope="module")
def template(product, tmp_path_factory):  # noqa: F811
    """The folder of a line whose one board left the factory with release 1.4.0."""
    folder = tmp_path_factory.mktemp("template") / "line"
    with SimulatedLine(folder, board_count=1, seed=SEED) as line:
        finish_board(product, line.slots[0].board)
    return folder


def powered(folder, template, faults=None):
    shutil.copytree(template, folder)
    return SimulatedLine(
        folder, board_count=1, seed=SEED, faults=faults, update_session_factory=make_update_session
    )


def partition_of(board, name):
    partition = board.running.table.find(name)
    return board.flash.read(partition.offset_bytes, partition.size_bytes)


def describe(board):
    """What an update leaves on a board: images, otadata, and what the device remembers."""
    table = board.running.table
    choice = select_boot(read_otadata(board.flash, table.find("otadata")), 2)
    state = DeviceRecord(board.flash, table.find("devrec")).load_update_state()
    return {
        "images": [partition_of(board, name) for name in WHOLE],
        "runs": (board.running.version, board.running.slot),
        "boots": (choice.slot, choice.state),
        "release_counter": state.release_counter,
        "pending": state.pending,
        "outcome": state.last_outcome,
    }


class Gateways:
    """Gateways to one server, as they come and go."""

    def __init__(self, url, root_path):  # noqa: F811
        self.url, self.root_path = url, root_path

    def relay(self, line, cache):
        """A gateway that nobody kills; what it was asked for, in order."""
        wishes = []
        update_through_gateway(
            self.url,
            line.slots[0].port_url,
            self.root_path.read_bytes(),
            cache,
            on_fetch=lambda fetch: wishes.append((fetch.path, fetch.offset_bytes)),
        )
        return wishes


@pytest.fixture(scope="module")
def gateways(url, product):  # noqa: F811
    return Gateways(url, product.root / "repository" / "metadata" / "1.root.json")


@pytest.fixture(scope="module")
def undisturbed(template, gateways, tmp_path_factory):
    """What the board is afterwards, what it asked for, and where its flash changed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    changes = []
    change = NorFlash._change

    def recording(flash, offset_bytes, content):
        changes.append((flash.written_bytes, len(content)))
        change(flash, offset_bytes, content)

    with powered(folder / "line", template) as line, pytest.MonkeyPatch.context() as patch:
        patch.setattr(NorFlash, "_change", recording)
        wishes = gateways.relay(line, folder / "cache")
        outcome = describe(line.slots[0].board)
    assert outcome["runs"] == ("1.5.0", 1)
    assert outcome["boots"] == (1, OtaState.VALID)
    assert (outcome["release_counter"], outcome["pending"]) == (2, None)
    assert outcome["outcome"] == "installed"
    return outcome, wishes, changes


@pytest.fixture(scope="module")
def killer():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.manifests.killed_gateway"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def kill(gateways, line, cache, side, exchange):
        port = line.slots[0].port_url
        words = [[gateways.url, port, str(gateways.root_path), str(cache)], side, exchange]
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield kill
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def test_the_page_says_how_often_gateway_and_board_are_disturbed(undisturbed):
    _, wishes, changes = undisturbed
    exchanges = len(wishes) + SESSIONS
    assert figures("SIGKILL of a gateway") == (
        f"{exchanges} exchanges, {2 * exchanges} kills",
        f"{SAMPLED_KILLS}, and one update killed again and again",
        "all",
    )
    assert figures("power cut of the board behind a gateway") == (
        f"{len(changes)} changes of the flash: {len(cut_moments(changes))} cuts",
        str(SAMPLED_CUTS),
        "all",
    )


def app_wishes(wishes):
    """Those for the application: of all artifacts the one that is asked for most often."""
    paths = [path for path, _ in wishes if "artifacts/" in path]
    longest = max(paths, key=paths.count, default="")
    return [wish for wish in wishes if wish[0] == longest]


def choose_kills(wishes):
    # Each session begins with a question of its own, and each wish is answered by one.
    exchanges = range(1, len(wishes) + SESSIONS + 1)
    moments = [(side, n) for n in exchanges for side in ("before", "after")]
    if IS_SOAK:
        return moments
    chooser = random.Random(20261126)
    middle = wishes.index(app_wishes(wishes)[8]) + 2
    return [("after", middle), *chooser.sample(moments, SAMPLED_KILLS - 1)]


def cut_moments(changes):
    return [
        before + moment
        for before, size_bytes in changes
        for moment in sorted({0, size_bytes // 2, size_bytes - 1})
    ]


def test_another_gateway_finishes_what_a_killed_one_began(
    template, gateways, undisturbed, killer, tmp_path
):
    outcome, wishes, _ = undisturbed
    chunks = app_wishes(wishes)
    for side, exchange in choose_kills(wishes):
        folder = tmp_path / f"{side}-{exchange}"
        with powered(folder / "line", template) as line:
            board = line.slots[0].board
            killed = killer(gateways, line, folder / "cache", side, exchange)
            assert killed == -signal.SIGKILL, (side, exchange)
            # The board waits for an answer, or restarts; what it runs is whole.
            told = describe(board)
            old, new = (told["images"][0], told["images"][2]), outcome["images"]
            assert old == (new[0], new[2]), "the running slot was written"
            assert told["runs"] in {("1.4.0", 0), ("1.5.0", 1)}
            cache = folder / ("cache" if exchange % 2 else "another-cache")
            again = gateways.relay(line, cache)
            assert describe(board) == outcome, (side, exchange)
        # An answer counts when the question after it came.
        carried = wishes[: max(exchange - (2 if side == "before" else 1), 0)]
        left = len(chunks) - len([wish for wish in carried if wish in chunks])
        assert len([wish for wish in again if wish in chunks]) <= left + 1, "it began anew"


def test_gateways_that_are_killed_again_and_again_get_there(
    template, gateways, undisturbed, killer, tmp_path
):
    """Each gateway dies two application chunks after the one before."""
    outcome, wishes, _ = undisturbed
    first_chunk = wishes.index(app_wishes(wishes)[0])
    with powered(tmp_path / "line", template) as line:
        deaths = 0
        while killer(gateways, line, tmp_path / "cache", "after", first_chunk + 4) < 0:
            deaths += 1
            assert deaths < 40, "the update makes no progress"
        assert deaths > 3
        gateways.relay(line, tmp_path / "cache")
        assert describe(line.slots[0].board) == outcome


def test_a_board_that_loses_its_power_behind_a_gateway_is_whole_afterwards(
    template, gateways, undisturbed, tmp_path, monkeypatch
):
    """The gateway gives up on the silent board; the next one finds what lies in flash."""
    monkeypatch.setattr(cli.gateway_relay, "ANSWER_TIMEOUT_S", 1.0)
    outcome, _, changes = undisturbed
    cuts = cut_moments(changes)
    if not IS_SOAK:
        cuts = random.Random(20261126).sample(cuts, SAMPLED_CUTS)
    for cut_after_bytes in cuts:
        folder = tmp_path / f"cut-{cut_after_bytes}"
        faults = {0: FaultPlan(power_cut_after_bytes=cut_after_bytes)}
        with powered(folder / "line", template, faults) as line:
            board = line.slots[0].board
            for _ in range(4):
                try:
                    gateways.relay(line, folder / "cache")
                except ProvisioningError:
                    assert board.running is not None, "the board does not boot"
                    continue
                break
            else:
                raise AssertionError(f"cut after {cut_after_bytes}: no gateway gets through")
            told = describe(board)
            if told["outcome"] != "installed":
                gateways.relay(line, folder / "cache")
                told = describe(board)
            assert told == outcome, cut_after_bytes
