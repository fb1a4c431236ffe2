"""An untimely reset at any moment of an update leaves a board that boots and then finishes."""

from __future__ import annotations

import hashlib
import itertools
import os
import random

import pytest

from manifests.server_app import RepositoryApp
from manifests.transfer import run_session
from manifests.update_outcome import FIRST_BOOTS_MAX, UpdateResult
from manifests.updater import update_device
from tests.firmware_images.power_cut import CuttableFlash, PowerCutError
from tests.firmware_images.release_parts import APP_1_4_0, APP_1_5_0, signer
from tests.manifests.world import (
    FLASH_BYTES,
    NOW,
    RULES,
    AppTransport,
    bundle,
    make_device,
    make_publisher,
    new_bundle,
    trust,
)

DIGESTS = {hashlib.sha256(path.read_bytes()).digest() for path in (APP_1_4_0, APP_1_5_0)}
NEW = hashlib.sha256(APP_1_5_0.read_bytes()).digest()
SEED = 20_260_101
SAMPLES = 40
IS_SOAK = os.environ.get("AMPFORGE_SOAK") == "1"


@pytest.fixture(scope="module")
def transport(tmp_path_factory):
    publisher = make_publisher(tmp_path_factory.mktemp("repository"))
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    return AppTransport(
        RepositoryApp(
            publisher.store.root,
            trust=trust(),
            freshness_signer=signer("freshness-1"),
            clock=lambda: NOW,
        )
    )


@pytest.fixture(scope="module")
def factory_content():
    return bytes(make_device().medium.content)


def fresh_device(factory_content):
    flash = CuttableFlash(FLASH_BYTES)
    device = make_device(flash)
    flash.content[:] = factory_content
    flash.operations = 0
    device.board.boot()
    return device, flash


def live(device, transport):
    """What a board does over and over: run a session, and boot when it is told to."""
    for _ in range(6):
        outcome = run_session(update_device(device, RULES), transport)
        if outcome.result is not UpdateResult.REBOOT_NEEDED:
            return outcome
        device.board.boot()
    raise AssertionError("the update never settles")


@pytest.fixture(scope="module")
def operation_count(factory_content, transport):
    device, flash = fresh_device(factory_content)
    assert live(device, transport).result is UpdateResult.INSTALLED
    return flash.operations


def cuts(operation_count):
    """Every operation in soak; else a seeded sample with the first and last, where records lie."""
    draw = random.Random(SEED)
    if IS_SOAK:
        return [(cut_at, draw.choice((0, 1, 9, 30, 2048))) for cut_at in range(operation_count)]
    edges = {*range(5), *range(operation_count - 14, operation_count)}
    middle = [cut_at for cut_at in range(operation_count) if cut_at not in edges]
    chosen = {*edges, *draw.sample(middle, min(len(middle), SAMPLES - len(edges)))}
    return [(cut_at, draw.choice((0, 1, 9, 30, 2048))) for cut_at in sorted(chosen)]


def test_a_cut_at_any_operation_leaves_a_board_that_boots_and_finishes(
    factory_content, transport, operation_count
):
    for cut_at, done_bytes in cuts(operation_count):
        device, flash = fresh_device(factory_content)
        flash.cut_at, flash.done_bytes = cut_at, done_bytes
        with pytest.raises(PowerCutError):
            live(device, transport)
        flash.cut_at = None
        device.board.boot()
        where = f"cut at operation {cut_at} of {operation_count}, {done_bytes} bytes done"
        assert device.board.running_app_sha256 in DIGESTS, where
        outcome = live(device, transport)
        if outcome.result is UpdateResult.REVERTED:
            # The cut fell into the first boot: the bootloader went back, as it must.
            continue
        assert outcome.result in {UpdateResult.INSTALLED, UpdateResult.UP_TO_DATE}, where
        assert device.board.running_app_sha256 == NEW, where
        assert device.record.load_update_state().release_counter == 2, where


def test_an_earlier_rejection_is_not_taken_for_the_verdict_on_the_next_release(tmp_path):
    publisher = make_publisher(tmp_path / "repository")
    publisher.publish_bundle(new_bundle(), None, now=NOW)
    app = RepositoryApp(
        publisher.store.root,
        trust=trust(),
        freshness_signer=signer("freshness-1"),
        clock=lambda: NOW,
    )
    transport = AppTransport(app)
    flash = CuttableFlash(FLASH_BYTES)
    device = make_device(flash)
    for _ in range(FIRST_BOOTS_MAX):
        run_session(update_device(device, RULES), transport)
        device.board.boot()
        device.board.boot()
    assert run_session(update_device(device, RULES), transport).result is UpdateResult.REVERTED
    publisher.publish_bundle(bundle(release_counter=3, is_newer_app=True), None, now=NOW)
    rejected = bytes(flash.content)
    flash.operations = 0
    assert live(device, transport).release_counter == 3
    written = flash.operations
    for cut_at, done_bytes in itertools.product(range(written), (0, 9)):
        flash.content[:] = rejected
        flash.operations, flash.cut_at, flash.done_bytes = 0, cut_at, done_bytes
        device.board.boot()
        with pytest.raises(PowerCutError):
            live(device, transport)
        flash.cut_at = None
        was_booted_into = device.board.running_slot == 1
        device.board.boot()
        outcome = live(device, transport)
        if not was_booted_into:
            assert outcome.result is not UpdateResult.REVERTED, cut_at
        if outcome.result is not UpdateResult.REVERTED:
            assert outcome.release_counter == 3, cut_at
