"""An untimely reset at any moment of an update leaves a board that boots and then finishes.

The power fails within each storage operation in turn: one sector's erase, one write of a chunk, of
a record or of otadata, the bootloader's own included. What that operation leaves is one of five
tears, down to any subset of its bits. After each cut the flash must hold a bootable application
with its own table, and no counter below what it was; then the board must come to the same end as
without a cut.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.update_outcome import Remembered, remembered_word
from manifests.update_phases import STEPS, Phase, draw_phases, read_phase, tabulate_phases
from signing.refusal import Refusal
from tests.conftest import IS_SOAK
from tests.firmware_images.power_cut import PowerCutError, Tear, TornFlash, Wear, WornFlash
from tests.manifests.update_lives import KINDS, Life, make_kind, survive
from tests.manifests.world import FLASH_BYTES, NOW, PARTITIONS, bundle, open_publisher
from tests.reliability_page import figures

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

SPECIFICATION = Path(__file__).parents[2] / "docs" / "spec" / "updater.md"
SEED = 20_260_101
SAMPLES = 24
PAIRS = 8
WORN = 10
PAIRS_IN_SOAK = 500
ENTRY_BYTES = 32


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    return make_kind(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def undisturbed(kind):
    """The operations of the update without a cut: what and where."""
    flash = TornFlash(FLASH_BYTES)
    life = Life(kind=kind, flash=flash)
    life.live()
    life.judge_end("undisturbed")
    return flash.touched


def cuts(operation_count):
    """Each operation with each tear in soak; else a seeded sample, the last ones more often."""
    draw = random.Random(SEED)
    if IS_SOAK:
        return list(itertools.product(range(operation_count), Tear))
    tail = range(max(0, operation_count - 40), operation_count)
    chosen = {*draw.sample(tail, SAMPLES // 2), *draw.sample(range(operation_count), SAMPLES // 2)}
    return [(cut_at, draw.choice(list(Tear))) for cut_at in sorted(chosen)]


def test_a_cut_in_any_operation_leaves_a_board_that_boots_and_finishes(kind, undisturbed):
    for cut_at, tear in cuts(len(undisturbed)):
        where = f"{kind.name}: cut in operation {cut_at} of {len(undisturbed)}, {tear.name}"
        life = Life(kind=kind, flash=TornFlash(FLASH_BYTES))
        life.flash.cut_after(cut_at, tear, seed=cut_at)
        assert survive(life, where), where
        life.live()
        life.judge_end(where)


def test_a_second_cut_on_the_way_back_changes_nothing_of_that(kind, undisturbed):
    draw = random.Random(SEED)
    for number in range(PAIRS_IN_SOAK if IS_SOAK else PAIRS):
        life = Life(kind=kind, flash=TornFlash(FLASH_BYTES))
        where = f"{kind.name}: pair {number}"
        # The second cut is near: in what the board does to recover.
        for cut_at in (draw.randrange(len(undisturbed)), draw.randrange(draw.choice((12, 90)))):
            tear = draw.choice(list(Tear))
            where += f", cut {cut_at} operations later, {tear.name}"
            life.flash.cut_after(cut_at, tear, seed=draw.randrange(1 << 30))
            if not survive(life, where):
                break
        life.flash.power_on()
        life.live()
        life.judge_end(where)


def test_a_worn_sector_is_named_and_the_board_still_boots(kind, undisturbed):
    """Whatever is wrong with one sector: a refusal in words, the old pair, and no way back."""
    draw = random.Random(SEED)
    otadata = range(*(PARTITIONS.find(name).offset_bytes // 4096 for name in ("otadata", "devrec")))
    cases = list(itertools.product(sectors_to_wear(kind, undisturbed), Wear))
    if not IS_SOAK:
        records = [
            case for case in cases if case[0] < PARTITIONS.find("ota_0").offset_bytes // 4096
        ]
        cases = [*draw.sample(records, WORN // 2), *draw.sample(cases, WORN // 2)]
    refusals = 0
    for sector, wear in cases:
        where = f"{kind.name}: sector {sector:#x}, {wear.name}"
        life = Life(kind=kind, flash=WornFlash(FLASH_BYTES))
        life.flash.worn_sector, life.flash.wear = sector, wear
        refusal = live_worn(life)
        if refusal is not None:
            refusals += 1
            assert refusal.what, where
            assert refusal.where or refusal.got, where
        life.judge(where)
        life.flash.worn_sector = None
        life.reset()
        life.live()
        state = life.device.record.load_update_state()
        if kind.is_kept and remembered_word(state) is Remembered.REVERTED:
            # Three first boots were lost, because the bootloader's or the verdict was not kept.
            assert sector in otadata, where
        else:
            life.judge_end(where)
    assert refusals, kind.name


def sectors_to_wear(kind, touched):
    """Those that an update touches, less those where a second fault could not be survived."""
    sectors = {offset // 4096 for _, offset in touched}
    if kind.crashes:
        # Two faults: only the bootloader could leave a release that crashes, and its write fails.
        ends = (PARTITIONS.find(name).offset_bytes // 4096 for name in ("otadata", "devrec"))
        sectors -= {*range(*ends)}
    return sorted(sectors)


def test_the_page_says_how_often_an_update_is_cut(tmp_path_factory):
    operations = sampled = worn = 0
    for name in KINDS:
        flash = TornFlash(FLASH_BYTES)
        life = Life(kind=make_kind(name, tmp_path_factory.mktemp(name)), flash=flash)
        life.live()
        operations += len(flash.touched)
        sampled += len(cuts(len(flash.touched)))
        worn += len(sectors_to_wear(life.kind, flash.touched)) * len(Wear)
    cut_count = operations * len(Tear)
    points, in_check, in_soak = figures("power cut in each storage operation of an update")
    assert points == f"{operations} operations, {cut_count:,} cuts"
    assert in_soak == "all"
    assert sampled == cut_count if IS_SOAK else in_check == str(sampled)
    assert figures("a second cut while the board recovers from the first") == (
        "seeded pairs",
        str(PAIRS * len(KINDS)),
        f"{PAIRS_IN_SOAK * len(KINDS):,}",
    )
    assert figures("each sector that an update touches, worn in four ways") == (
        str(worn),
        str(WORN * len(KINDS)),
        "all",
    )


def live_worn(life) -> Refusal | None:
    try:
        life.live()
    except Refusal as error:
        return error
    return None


class WatchedFlash(TornFlash):
    """Notes the phase after each write that is not in the middle of an otadata entry."""

    def __init__(self):
        super().__init__(FLASH_BYTES)
        self.device = None
        self.seen = []

    def write(self, offset_bytes, content):
        super().write(offset_bytes, content)
        otadata = PARTITIONS.find("otadata").offset_bytes
        is_half = offset_bytes - otadata in {0, 4096} and len(content) < ENTRY_BYTES
        if self.device is not None and not is_half:
            self.look()

    def look(self):
        phase = read_phase(self.device)
        if not self.seen or self.seen[-1] is not phase:
            self.seen.append(phase)


def watched_life(kind):
    life = Life(kind=kind, flash=WatchedFlash())
    life.flash.device = life.device
    life.flash.look()
    return life


def steps_of(life):
    return {*itertools.pairwise(life.flash.seen)}


def steps_with_cuts(kind, undisturbed, tears=(Tear.NOTHING, Tear.DONE)):
    """The steps of lives that are cut in each operation on otadata."""
    otadata = PARTITIONS.find("otadata")
    taken = set()
    for cut_at, (_, offset) in enumerate(undisturbed):
        if 0 <= offset - otadata.offset_bytes < otadata.size_bytes:
            for tear in tears:
                life = watched_life(kind)
                life.flash.cut_after(cut_at, tear, seed=cut_at)
                assert survive(life, f"{kind.name}: {cut_at}")
                life.flash.look()
                life.live()
                taken |= steps_of(life)
    return taken


def test_the_flash_goes_through_the_steps_of_the_state_machine_alone(kind, undisturbed):
    """After each write without a cut; and with one in each operation on otadata, at rest."""
    life = watched_life(kind)
    life.live()
    assert life.flash.seen[-1] is Phase.IDLE
    assert steps_of(life) <= {(step.before, step.after) for step in STEPS if not step.is_cut}
    tears = Tear if IS_SOAK else (Tear.NOTHING,)
    taken = steps_with_cuts(kind, undisturbed, tears)
    assert taken <= {(step.before, step.after) for step in STEPS}


def test_every_step_of_the_state_machine_is_taken(tmp_path):
    """The picture shows nothing that does not happen."""
    taken = set()
    for name in ("full", "revert", "crash"):
        kind = make_kind(name, tmp_path / name)
        life = watched_life(kind)
        life.live()
        taken |= steps_of(life)
        if name == "full":
            taken |= steps_with_cuts(kind, life.flash.touched)
    for number, (is_deaf, release) in enumerate(
        (
            (False, bundle(release_counter=3, peak_na=90_000)),
            (True, bundle(release_counter=3, peak_na=90_000)),
            (True, bundle(release_counter=3, is_newer_app=True, peak_na=90_000)),
        )
    ):
        folder = tmp_path / f"further-{number}"
        kind = make_kind("full", folder, takes_reports=not is_deaf)
        life = watched_life(kind)
        live_deaf(life) if is_deaf else life.live()
        open_publisher(folder / "repository").publish_bundle(release, None, now=NOW)
        live_deaf(life) if is_deaf else life.live()
        assert life.device.record.load_update_state().release_counter == 3
        taken |= steps_of(life)
    assert taken == {(step.before, step.after) for step in STEPS}


def live_deaf(life):
    """The update is done, and its report stays due."""
    with pytest.raises(AssertionError, match="never settles"):
        life.live()


def test_the_specification_shows_the_state_machine_as_it_is():
    text = SPECIFICATION.read_text()
    assert f"```mermaid\n{draw_phases()}```" in text
    assert tabulate_phases() in text


@pytest.mark.parametrize("done_bytes", [0, 9])
def test_an_earlier_rejection_is_not_taken_for_the_verdict_on_the_next_release(
    tmp_path, done_bytes
):
    kind = make_kind("crash", tmp_path)
    life = Life(kind=kind, flash=TornFlash(FLASH_BYTES))
    life.live()
    open_publisher(tmp_path / "repository").publish_bundle(
        bundle(release_counter=3, is_newer_app=True), None, now=NOW
    )
    rejected = bytes(life.flash.content)
    following = replace(kind, crashes=False)
    life = Life(kind=following, flash=TornFlash(FLASH_BYTES), factory=rejected)
    life.live()
    written = life.flash.operations
    for cut_at in range(written):
        life = Life(kind=following, flash=TornFlash(FLASH_BYTES), factory=rejected)
        life.flash.cut_after(cut_at, Tear.PREFIX, seed=done_bytes)
        with pytest.raises(PowerCutError):
            life.live()
        life.flash.power_on()
        life.reset()
        life.live()
        assert life.device.record.load_update_state().release_counter == 3, cut_at
