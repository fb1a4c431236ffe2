from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_images.device_record import (
    DEVICE_RECORD_SIZE_BYTES,
    DeviceRecord,
    IdentityRecord,
    PendingUpdate,
    UpdateState,
    parse_identity,
    parse_update_state,
    serialize_identity,
    serialize_update_state,
)
from firmware_images.errors import RecordError
from firmware_images.flash_medium import MemoryFlash
from firmware_images.partitions import Partition
from signing.canonical_cbor import parse_cbor, serialize_cbor

GOLDEN = Path(__file__).parents[1] / "golden" / "records"
PARTITION = Partition(
    name="devrec",
    type=1,
    subtype=0x40,
    offset_bytes=0x1000,
    size_bytes=DEVICE_RECORD_SIZE_BYTES,
)
IDENTITY = IdentityRecord(
    serial="AF-FL1-26-36-00001-X",
    mac=bytes.fromhex("60554a000001"),
    job_id="job-1",
    private_key_der=b"the private key",
    certificate_der=b"",
)
PENDING = PendingUpdate(
    manifest_digest=bytes(range(32)),
    release_counter=2,
    policy_version=1,
    slot=1,
    app_sha256=bytes(32),
)
STATE = UpdateState(
    release_counter=1,
    assignment_sequence=7,
    freshness_sequence=9,
    policy_version_floor=1,
    pending=PENDING,
    last_outcome="confirmed",
    last_manifest_digest=bytes(32),
)


def new_record() -> tuple[MemoryFlash, DeviceRecord]:
    flash = MemoryFlash(0x10000)
    return flash, DeviceRecord(flash, PARTITION)


def test_a_blank_board_has_no_identity_and_the_default_update_state():
    _, record = new_record()
    assert record.load_identity() is None
    assert record.load_update_state() == UpdateState()
    assert record.calibration.load() is None
    assert record.trust.load() is None


def test_each_record_has_its_own_two_sectors():
    flash, record = new_record()
    record.calibration.save(b"calibration")
    record.save_identity(IDENTITY)
    record.trust.save(b"trust")
    record.save_update_state(STATE)
    record.save_update_state(STATE)
    assert [
        sector for sector in range(8) if flash.read(0x1000 + sector * 0x1000, 4) == b"AFR1"
    ] == [0, 2, 4, 6, 7]
    again = DeviceRecord(flash, PARTITION)
    assert again.load_identity() == IDENTITY
    assert again.load_update_state() == STATE


def test_a_partition_that_is_too_small_is_refused():
    small = replace(PARTITION, size_bytes=DEVICE_RECORD_SIZE_BYTES - 0x1000)
    with pytest.raises(RecordError, match="too small"):
        DeviceRecord(MemoryFlash(0x10000), small)


@pytest.mark.parametrize(
    "name",
    ["release_counter", "assignment_sequence", "freshness_sequence", "policy_version_floor"],
)
def test_no_counter_of_the_update_state_ever_goes_down(name):
    flash, record = new_record()
    record.save_update_state(STATE)
    before = bytes(flash.content)
    with pytest.raises(RecordError, match=f"{name} must never go down"):
        record.save_update_state(replace(STATE, **{name: getattr(STATE, name) - 1}))
    assert flash.content == before


@pytest.mark.parametrize("of_assignments", [False, True])
@pytest.mark.parametrize("of_freshness", [False, True])
def test_sequences_begin_anew_with_the_keys_that_count_them_and_nothing_else_does(
    of_assignments, of_freshness
):
    flash, record = new_record()
    record.save_update_state(STATE)
    before = bytes(flash.content)
    record.forget_sequences(of_assignments=of_assignments, of_freshness=of_freshness)
    assert record.load_update_state() == replace(
        STATE,
        assignment_sequence=0 if of_assignments else STATE.assignment_sequence,
        freshness_sequence=0 if of_freshness else STATE.freshness_sequence,
    )
    assert (flash.content == before) is not (of_assignments or of_freshness)


def test_the_private_key_is_not_printed():
    assert "the private key" not in repr(IDENTITY)


def test_the_payloads_are_the_golden_bytes():
    assert serialize_identity(IDENTITY) == (GOLDEN / "identity.cbor").read_bytes()
    assert serialize_update_state(STATE) == (GOLDEN / "update-state.cbor").read_bytes()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (1, 2),
        (1, True),
        (2, ""),
        (2, "S" * 65),
        (2, 5),
        (3, b"short"),
        (4, "j" * 65),
        (5, None),
        (7, 1),
        (8, 0),
    ],
)
def test_an_identity_with_a_wrong_field_is_refused(key, value):
    fields = parse_cbor(serialize_identity(IDENTITY), max_bytes=4096)
    assert isinstance(fields, dict)
    with pytest.raises(RecordError, match="does not have its fields"):
        parse_identity(serialize_cbor(fields | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (1, 9),
        (1, True),
        (2, -1),
        (2, True),
        (3, 1 << 32),
        (6, 0),
        (6, {1: bytes(31), 2: 1, 3: 1, 4: 1, 5: bytes(32)}),
        (6, {1: bytes(32), 2: -1, 3: 1, 4: 1, 5: bytes(32)}),
        (6, {1: bytes(32), 2: 1, 3: 1, 4: True, 5: bytes(32)}),
        (6, {1: bytes(32), 2: 1, 3: 1, 4: 1, 5: bytes(32), 6: 0}),
        (7, "o" * 65),
        (8, bytes(31)),
        (9, 0),
    ],
)
def test_an_update_state_with_a_wrong_field_is_refused(key, value):
    fields = parse_cbor(serialize_update_state(STATE), max_bytes=4096)
    assert isinstance(fields, dict)
    with pytest.raises(RecordError, match="does not have its fields"):
        parse_update_state(serialize_cbor(fields | {key: value}))


def test_what_could_not_be_read_back_is_not_written():
    flash, record = new_record()
    record.save_update_state(STATE)
    record.save_identity(IDENTITY)
    before = bytes(flash.content)
    with pytest.raises(RecordError, match="does not have its fields"):
        record.save_update_state(replace(STATE, last_outcome="o" * 65))
    with pytest.raises(RecordError, match="does not have its fields"):
        record.save_identity(replace(IDENTITY, mac=b"short"))
    assert flash.content == before


uint32 = st.integers(0, 0xFFFFFFFF)
digests = st.binary(min_size=32, max_size=32)
pendings = st.builds(
    PendingUpdate,
    manifest_digest=digests,
    release_counter=uint32,
    policy_version=uint32,
    slot=uint32,
    app_sha256=digests,
)


@given(
    st.builds(
        UpdateState,
        release_counter=uint32,
        assignment_sequence=uint32,
        freshness_sequence=uint32,
        policy_version_floor=uint32,
        pending=st.none() | pendings,
        last_outcome=st.text(max_size=30),
        last_manifest_digest=digests,
    )
)
def test_an_update_state_survives_its_bytes(state):
    assert parse_update_state(serialize_update_state(state)) == state


@given(
    st.builds(
        IdentityRecord,
        serial=st.text(min_size=1, max_size=20),
        mac=st.binary(min_size=6, max_size=6),
        job_id=st.text(max_size=30),
        private_key_der=st.binary(max_size=150),
        certificate_der=st.binary(max_size=150),
        confirmed=st.booleans(),
    )
)
def test_an_identity_survives_its_bytes(identity):
    assert parse_identity(serialize_identity(identity)) == identity


@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_only_our_error(content):
    for parse in (parse_identity, parse_update_state):
        with pytest.raises(RecordError):
            parse(content)
