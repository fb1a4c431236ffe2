"""A station that is killed while it works with an application of 1.5 MiB ends as if it was not."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal

import pytest

from provisioning.simulator.line import SimulatedLine
from tests.conftest import IS_SOAK
from tests.firmware_images.grown_image import FULL_SIZE_BYTES, grow_image
from tests.firmware_images.release_parts import APP_1_4_0
from tests.provisioning.killed_station import EXCHANGES_NAME
from tests.provisioning.outcome import describe, finish
from tests.provisioning.station_bench import SEED, make_bench, open_bench
from tests.provisioning.test_station_kill import COMMIT_MOMENTS, Killer

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

# Seeded, so that a failure happens again. In soak none of the application can be compressed.
CHOOSER = random.Random(20261127)
COMMITS_SAMPLED, EXCHANGES_SAMPLED = (16, 24) if IS_SOAK else (0, 1)
RANDOM_SHARE = 1.0 if IS_SOAK else 0.1
FLASHING = [["during", "flash", round(CHOOSER.uniform(0.2, 0.9), 3)] for _ in range(4)]
COMMITS = CHOOSER.sample(COMMIT_MOMENTS, COMMITS_SAMPLED)
# Fewer than any run needs, so that nothing has to be counted before.
EXCHANGES_WITHOUT_COUNTING = 200


@pytest.fixture(scope="module")
def killer():
    killer = Killer()
    yield killer
    killer.process.stdin.close()
    killer.process.wait(timeout=60)


@pytest.fixture(scope="module")
def application():
    content = grow_image(APP_1_4_0.read_bytes(), FULL_SIZE_BYTES, random_share=RANDOM_SHARE)
    assert len(content) > 1_500_000
    return content


@pytest.fixture(scope="module")
def template(application, tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    (folder / "app.bin").write_bytes(application)
    make_bench(folder, app=folder / "app.bin")
    return folder


@pytest.fixture(scope="module")
def outcome(template, application, tmp_path_factory):
    """What an undisturbed run leaves; by default that of the small image, with this one's names."""
    folder = tmp_path_factory.mktemp("undisturbed") / "bench"
    if IS_SOAK:
        shutil.copytree(template, folder)
    else:
        folder.mkdir()
        make_bench(folder)
    with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
        finish(folder, line)
    station = open_bench(template)
    names = {"app": hashlib.sha256(application).hexdigest(), "bundle": station.bundle.digest}
    station.close()
    found = describe(folder)
    if IS_SOAK:
        assert all(unit | names == unit for unit in found.values())
    return {mac: unit | names for mac, unit in found.items()}


def choose_moments(template, killer, tmp_path):
    """Return the durable boundaries, the exchanges and the moments of the transfer to die at."""
    count = EXCHANGES_WITHOUT_COUNTING
    if IS_SOAK:
        counted = shutil.copytree(template, tmp_path / "counted")
        with SimulatedLine(counted / "line", board_count=1, seed=SEED) as line:
            assert killer.run(counted, line, ["exchange", 1 << 30]) == 0
        count = int((counted / EXCHANGES_NAME).read_text()) - 10
    exchanges = random.Random(20261128).sample(range(1, count + 1), EXCHANGES_SAMPLED)
    flashing = FLASHING if IS_SOAK else FLASHING[:1]
    return [*COMMITS, *flashing, *(["exchange", number] for number in exchanges)]


def test_a_kill_with_a_full_size_image_changes_nothing(
    template, application, outcome, killer, tmp_path
):
    for number, moment in enumerate(choose_moments(template, killer, tmp_path)):
        folder = shutil.copytree(template, tmp_path / str(number))
        with SimulatedLine(folder / "line", board_count=1, seed=SEED) as line:
            assert killer.run(folder, line, moment) == -signal.SIGKILL, moment
            finish(folder, line)
            board = line.slots[0].board
            app_at = board.running.table.find("ota_0").offset_bytes
            assert board.flash.read(app_at, len(application)) == application, moment
        assert describe(folder) == outcome, f"killed {moment}"
        shutil.rmtree(folder)
