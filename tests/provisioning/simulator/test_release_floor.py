"""A board never goes below the release whose signed statement it was shown, whoever asks."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from firmware_images.device_record import DeviceRecord, PendingUpdate, UpdateState
from firmware_images.release_statement import (
    RELEASE_CONTENT_TYPE,
    AppFacts,
    ReleaseStatement,
    describe_part,
    serialize_statement,
)
from firmware_images.waveform_table import serialize_waveform_table
from provisioning import link_release
from provisioning.link_messages import BoardErrorCode
from signing.cose import sign_many
from signing.roles import Role
from tests.provisioning.simulator.parts import (
    TABLE,
    finish_identity,
    image,
    keys,
    make_running_board,
    waveform_table,
)

PENDING = PendingUpdate(
    manifest_digest=bytes(32), release_counter=9, policy_version=1, slot=1, app_sha256=bytes(32)
)


def statement(**changes) -> ReleaseStatement:
    table_bytes = serialize_waveform_table(waveform_table())
    values = {
        "product": "flare",
        "version": "1.4.0",
        "release_counter": 3,
        "hardware_class": "flare-c3",
        "hardware_revision_min": 1,
        "hardware_revision_max": 1,
        "chip": "esp32c3",
        "flash_size_bytes": 4 << 20,
        "parts": {
            "app.bin": describe_part(image("1.4.0")),
            "waveform-table.bin": describe_part(table_bytes),
        },
        "app": AppFacts(project_name=None, version=None, secure_version=None, elf_sha256=None),
        "policy_digest": bytes(32),
        "policy_version": 2,
    }
    return ReleaseStatement(**(values | changes))


def signed(role: Role = Role.RELEASE, **changes) -> bytes:
    signers = keys().signers[role][:1]
    return sign_many(
        serialize_statement(statement(**changes)), signers, content_type=RELEASE_CONTENT_TYPE
    )


@pytest.fixture
def unit(tmp_path):
    unit = make_running_board(tmp_path)
    finish_identity(unit)
    return unit


def record_of(unit) -> DeviceRecord:
    return DeviceRecord(unit.board.flash, TABLE.find("devrec"))


def floor(unit) -> tuple[int, int]:
    answer = unit.ask(link_release.ReleaseReadRequest(), link_release.ReleaseReadResponse)
    return answer.counter, answer.policy


def show(unit, statement_bytes: bytes) -> tuple[int, int]:
    request = link_release.ReleaseWriteRequest(stmt=statement_bytes)
    answer = unit.ask(request, link_release.ReleaseWriteResponse)
    return answer.counter, answer.policy


def flash_digest(unit) -> bytes:
    return hashlib.sha256(unit.board.flash.read(0, 4 << 20)).digest()


def test_the_floor_is_that_of_the_running_release_and_survives_a_power_cycle(unit):
    assert floor(unit) == (0, 0)
    assert show(unit, signed()) == (3, 2)
    unit.board.power_cycle()
    assert floor(unit) == (3, 2)
    assert record_of(unit).load_update_state() == UpdateState(
        release_counter=3, policy_version_floor=2
    )


def test_the_same_statement_again_writes_nothing(unit):
    show(unit, signed())
    before = flash_digest(unit)
    assert show(unit, signed()) == (3, 2)
    assert flash_digest(unit) == before


def test_a_lower_counter_is_answered_with_what_the_board_keeps(unit):
    """Each number by itself: neither an older release nor an older policy lowers anything."""
    show(unit, signed())
    before = flash_digest(unit)
    assert show(unit, signed(release_counter=2, policy_version=1)) == (3, 2)
    assert flash_digest(unit) == before
    assert show(unit, signed(release_counter=2, policy_version=5)) == (3, 5)
    assert show(unit, signed(release_counter=7, policy_version=1)) == (7, 5)


def test_what_else_the_update_state_remembers_stays(unit):
    state = UpdateState(assignment_sequence=4, freshness_sequence=5, last_outcome="installed")
    record_of(unit).save_update_state(state)
    show(unit, signed())
    assert record_of(unit).load_update_state() == replace(
        state, release_counter=3, policy_version_floor=2
    )


OTHER = describe_part(b"something else")


@pytest.mark.parametrize(
    ("statement_bytes", "code"),
    [
        pytest.param(b"\xd8\x62", BoardErrorCode.BAD_SIGNATURE, id="not a message"),
        pytest.param(
            signed(Role.POLICY), BoardErrorCode.BAD_SIGNATURE, id="signed by another role"
        ),
        pytest.param(signed(product="glow"), BoardErrorCode.BAD_SIGNATURE, id="of another product"),
        pytest.param(
            signed(hardware_class="glow-c3"), BoardErrorCode.BAD_VALUE, id="for other hardware"
        ),
        pytest.param(
            signed(parts=statement().parts | {"app.bin": OTHER}),
            BoardErrorCode.BAD_VALUE,
            id="of another application",
        ),
        pytest.param(
            signed(parts=statement().parts | {"waveform-table.bin": OTHER}),
            BoardErrorCode.BAD_VALUE,
            id="of another table",
        ),
        pytest.param(signed(parts={}), BoardErrorCode.BAD_VALUE, id="of nothing"),
    ],
)
def test_a_statement_that_is_not_of_the_running_release_changes_nothing(
    unit, statement_bytes, code
):
    before = flash_digest(unit)
    assert unit.refusal(link_release.ReleaseWriteRequest(stmt=statement_bytes)) == code
    assert flash_digest(unit) == before


def test_a_release_on_trial_does_not_count_yet(unit):
    """Its counter would keep the board from going back to the release before it."""
    record_of(unit).save_update_state(UpdateState(release_counter=1, pending=PENDING))
    refusal = unit.refusal(link_release.ReleaseWriteRequest(stmt=signed()))
    assert refusal == BoardErrorCode.BAD_STATE
    assert floor(unit) == (1, 0)


def test_a_board_that_trusts_nobody_takes_no_statement(tmp_path):
    unit = make_running_board(tmp_path)
    assert (
        unit.refusal(link_release.ReleaseWriteRequest(stmt=signed()))
        == BoardErrorCode.BAD_SIGNATURE
    )
    assert floor(unit) == (0, 0)


def test_a_damaged_update_state_is_reported_and_not_replaced(unit):
    """What protects from rollback must not become zero by being damaged."""
    update_state = TABLE.find("devrec").offset_bytes + 6 * 4096
    for sector in range(2):
        unit.board.flash.write(update_state + sector * 4096, b"damaged")
    before = flash_digest(unit)
    assert unit.refusal(link_release.ReleaseReadRequest()) == BoardErrorCode.STORAGE
    assert unit.refusal(link_release.ReleaseWriteRequest(stmt=signed())) == BoardErrorCode.STORAGE
    assert flash_digest(unit) == before
