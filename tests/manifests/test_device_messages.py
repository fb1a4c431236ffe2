"""Manifest, assignment, freshness and report: exact bytes, bounds, and who may have signed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_images.delta_format import PatchCompression, PatchEncoding
from firmware_images.release_constraints import NO_CONSTRAINTS, ReleaseConstraints
from manifests.assignment import (
    ALL_DEVICES_PPM,
    ASSIGNMENT_CONTENT_TYPE,
    Assignment,
    draw_ppm,
    following_sequence,
    parse_assignment,
    serialize_assignment,
    verify_assignment,
)
from manifests.device_report import (
    DeviceReport,
    ReportedResult,
    sign_device_report,
    verify_device_report,
)
from manifests.errors import DeviceMessageError
from manifests.freshness import (
    Freshness,
    FreshnessRequest,
    parse_freshness_request,
    serialize_freshness_request,
    sign_freshness,
    verify_freshness,
)
from manifests.manifest import (
    MANIFEST_CONTENT_TYPE,
    AppFacts,
    DeltaFacts,
    Manifest,
    WaveformFacts,
    parse_manifest,
    serialize_manifest,
    verify_manifest,
)
from manifests.message_fields import MESSAGE_MAX_BYTES, TIME_MAX_S
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.cose import sign_many, sign_one
from signing.errors import SigningError
from signing.refusal import Refusal
from tests.firmware_images.release_parts import HEATSHRINK, signer
from tests.manifests.world import NOW, SERIAL, make_device, trust

UINT32 = st.integers(0, 2**32 - 1)
DIGEST = st.binary(min_size=32, max_size=32)
TIME = st.integers(0, TIME_MAX_S)
NOT_COMPRESSED = PatchEncoding(compression=PatchCompression.NONE)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=32)
REVISIONS = st.tuples(UINT32, UINT32).map(sorted)

MANIFESTS = st.builds(
    lambda revisions, steps, supports, **fields: Manifest(
        hardware_revision_min=revisions[0],
        hardware_revision_max=revisions[1],
        constraints=ReleaseConstraints(
            minimum_current_counter=steps % fields["release_counter"],
            support_ends_at_s=supports and max(supports, fields["expires_at_s"]),
        ),
        **fields,
    ),
    REVISIONS,
    st.just(0) | UINT32,
    st.just(0) | TIME,
    product=TEXT,
    release_counter=st.integers(1, 2**32 - 1),
    version=TEXT,
    hardware_class=TEXT,
    app=st.builds(
        AppFacts,
        size_bytes=st.integers(2, 16 << 20),
        sha256=st.binary(min_size=31, max_size=31).map(lambda tail: b"\t" + tail),
        elf_sha256=DIGEST | st.just(b""),
        secure_version=UINT32,
    ),
    waveform=st.builds(
        WaveformFacts,
        size_bytes=st.integers(1, 64 << 10),
        sha256=DIGEST,
        table_sha256=DIGEST,
        policy_version=st.integers(1, 2**32 - 1),
        peak_na=st.integers(0, 100_000_000),
    ),
    bundle_sha256=DIGEST,
    issued_at_s=TIME,
    expires_at_s=TIME,
    deltas=st.lists(
        st.builds(
            DeltaFacts,
            base_size_bytes=st.integers(1, 16 << 20),
            base_sha256=st.binary(min_size=32, max_size=32).filter(lambda digest: digest[0] > 9),
            patch_size_bytes=st.just(1),
            patch_sha256=DIGEST,
            encoding=st.sampled_from([NOT_COMPRESSED, HEATSHRINK]),
        ),
        max_size=3,
        unique_by=lambda delta: delta.base_sha256,
    ).map(lambda deltas: tuple(sorted(deltas, key=lambda delta: delta.base_sha256))),
)
ASSIGNMENTS = st.builds(
    Assignment,
    product=TEXT,
    hardware_class=TEXT,
    sequence=st.integers(1, 2**32 - 1),
    manifest_sha256=DIGEST.filter(lambda digest: digest[0] != 0xFF),
    campaign=TEXT,
    salt=st.binary(min_size=16, max_size=16),
    drawn_ppm=st.integers(0, ALL_DEVICES_PPM),
    pinned_serial_numbers=st.lists(
        st.text("ABCDEFGH0123456789", min_size=1, max_size=20), max_size=24, unique=True
    ).map(lambda serials: tuple(sorted(serials))),
    is_halted=st.booleans(),
    issued_at_s=TIME,
    expires_at_s=TIME,
    # A digest of the release itself would be refused; it begins with no 0xff.
    steps_sha256=st.lists(
        st.binary(min_size=31, max_size=31).map(lambda tail: b"\xff" + tail),
        max_size=8,
        unique=True,
    ).map(tuple),
)

MANIFEST = Manifest(
    product="flare",
    release_counter=2,
    version="1.5.0",
    hardware_class="flare-c3",
    hardware_revision_min=1,
    hardware_revision_max=2,
    app=AppFacts(size_bytes=65_936, sha256=b"a" * 32, elf_sha256=b"e" * 32, secure_version=0),
    waveform=WaveformFacts(
        size_bytes=1200, sha256=b"w" * 32, table_sha256=b"t" * 32, policy_version=1, peak_na=400_000
    ),
    bundle_sha256=b"b" * 32,
    issued_at_s=1_767_225_600,
    expires_at_s=1_830_297_600,
    deltas=(
        DeltaFacts(
            base_size_bytes=65_936,
            base_sha256=b"B" * 32,
            patch_size_bytes=1125,
            patch_sha256=b"P" * 32,
            encoding=HEATSHRINK,
        ),
    ),
)
CONSTRAINED = replace(
    MANIFEST,
    release_counter=4,
    version="1.7.0",
    constraints=ReleaseConstraints(
        minimum_current_counter=2,
        support_ends_at_s=1_924_992_000,  # until the end of 2030
    ),
)
ASSIGNMENT = Assignment(
    product="flare",
    hardware_class="flare-c3",
    sequence=7,
    manifest_sha256=b"m" * 32,
    campaign="pilot",
    salt=bytes(range(16)),
    drawn_ppm=250_000,
    pinned_serial_numbers=("FL26A000017",),
    is_halted=False,
    issued_at_s=1_767_225_600,
    expires_at_s=1_775_001_600,
)
STEPPED = replace(ASSIGNMENT, sequence=8, steps_sha256=(b"1" * 32, b"2" * 32))
REQUEST = FreshnessRequest(nonce=b"n" * 16, hardware_class="flare-c3")
FRESHNESS = Freshness(
    nonce=b"n" * 16,
    sequence=1_767_225_600,
    time_s=1_767_225_600,
    hardware_class="flare-c3",
    assignment_sequence=7,
)
REPORT = DeviceReport(
    serial_number=SERIAL,
    hardware_class="flare-c3",
    result=ReportedResult.INSTALLED,
    release_counter=2,
    app_sha256=b"a" * 32,
    table_sha256=b"t" * 32,
    manifest_sha256=b"m" * 32,
    assignment_sequence=7,
    freshness_sequence=1_767_225_600,
    reason="",
)


def test_after_the_last_sequence_comes_the_first():
    assert [following_sequence(n) for n in (1, 2**32 - 2, 2**32 - 1)] == [2, 2**32 - 1, 1]


def signed_manifest(manifest=MANIFEST, names=("release-1", "release-2-ed")):
    return sign_many(
        serialize_manifest(manifest),
        [signer(name) for name in names],
        content_type=MANIFEST_CONTENT_TYPE,
    )


def signed_assignment(assignment=ASSIGNMENT, name="campaign-1"):
    return sign_one(
        serialize_assignment(assignment), signer(name), content_type=ASSIGNMENT_CONTENT_TYPE
    )


def signed_report(report=REPORT):
    certificate = make_device().load_identity().certificate_der
    return sign_device_report(report, signer("device-key"), certificate)


@given(MANIFESTS)
def test_a_manifest_reads_back_as_it_was_written(manifest):
    assert parse_manifest(serialize_manifest(manifest)) == manifest


@given(ASSIGNMENTS)
def test_an_assignment_reads_back_as_it_was_written(assignment):
    assert parse_assignment(serialize_assignment(assignment)) == assignment


def test_a_freshness_request_reads_back_as_it_was_written():
    assert parse_freshness_request(serialize_freshness_request(REQUEST)) == REQUEST


@pytest.mark.parametrize(
    "read",
    [
        parse_manifest,
        parse_assignment,
        parse_freshness_request,
        lambda content: verify_manifest(content, trust()),
        lambda content: verify_assignment(content, trust()),
        lambda content: verify_freshness(content, trust(), request=REQUEST),
        lambda content: verify_device_report(content, trust(), now=NOW),
    ],
    ids=["manifest", "assignment", "request", "manifest*", "assignment*", "freshness*", "report*"],
)
@settings(max_examples=60)
@given(st.binary(max_size=1100))
def test_arbitrary_bytes_are_refused_with_our_errors_only(read, content):
    with pytest.raises(Refusal):
        read(content)


@settings(max_examples=60)
@given(st.data())
def test_a_payload_with_any_field_replaced_is_read_or_refused_and_never_crashes(data):
    fields = parse_cbor(serialize_manifest(MANIFEST), max_bytes=1024)
    key = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(
        st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.binary() | st.text()
    )
    fields[key] = value
    with suppress(DeviceMessageError):
        parse_manifest(serialize_cbor(fields))


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_any_flipped_bit_of_a_signed_message_is_refused(bit):
    for message, read in (
        (signed_manifest(), lambda content: verify_manifest(content, trust())),
        (signed_assignment(), lambda content: verify_assignment(content, trust())),
        (
            sign_freshness(FRESHNESS, signer("freshness-1")),
            lambda content: verify_freshness(content, trust(), request=REQUEST),
        ),
        (signed_report(), lambda content: verify_device_report(content, trust(), now=NOW)),
    ):
        for index in range(0, len(message), 7):
            flipped = bytearray(message)
            flipped[index] ^= 1 << bit
            with pytest.raises(Refusal):
                read(bytes(flipped))


def test_the_release_threshold_is_counted_by_distinct_keys():
    assert verify_manifest(signed_manifest(), trust()) == MANIFEST
    with pytest.raises(SigningError):
        verify_manifest(signed_manifest(names=("release-1",)), trust())


def test_a_manifest_by_another_role_is_refused():
    with pytest.raises(SigningError, match="role"):
        verify_manifest(signed_manifest(names=("campaign-1", "policy-1")), trust())


def test_an_assignment_by_the_release_role_is_refused():
    with pytest.raises(SigningError, match="campaign"):
        verify_assignment(signed_assignment(name="release-1"), trust())


def test_an_assignment_in_a_manifests_place_is_refused_by_its_content_type():
    with pytest.raises(SigningError, match="another kind"):
        verify_manifest(signed_assignment(), trust())


def test_a_message_of_another_product_is_refused():
    with pytest.raises(DeviceMessageError, match="another product"):
        verify_manifest(signed_manifest(replace(MANIFEST, product="glow")), trust())
    with pytest.raises(DeviceMessageError, match="another product"):
        verify_assignment(signed_assignment(replace(ASSIGNMENT, product="glow")), trust())


def test_a_freshness_answer_to_another_nonce_or_class_is_refused():
    answer = sign_freshness(FRESHNESS, signer("freshness-1"))
    assert verify_freshness(answer, trust(), request=REQUEST) == FRESHNESS
    for other in (replace(REQUEST, nonce=b"x" * 16), replace(REQUEST, hardware_class="glow-c3")):
        with pytest.raises(DeviceMessageError, match=r"is (not )?for"):
            verify_freshness(answer, trust(), request=other)


def test_a_device_cannot_report_under_another_serial_number():
    assert verify_device_report(signed_report(), trust(), now=NOW) == REPORT
    message = signed_report(replace(REPORT, serial_number="FL26A000025"))
    with pytest.raises(DeviceMessageError, match="not its own"):
        verify_device_report(message, trust(), now=NOW)


def test_a_station_certificate_is_not_a_devices():
    from tests.manifests.world import station_certificate

    message = sign_device_report(REPORT, signer("station-1"), station_certificate())
    with pytest.raises(SigningError):
        verify_device_report(message, trust(), now=NOW)


def test_a_message_at_every_bound_still_fits_a_kibibyte():
    largest = replace(
        MANIFEST,
        product="p" * 64,
        version="v" * 64,
        hardware_class="h" * 32,
        release_counter=2**32 - 1,
        issued_at_s=TIME_MAX_S,
        expires_at_s=TIME_MAX_S,
        constraints=ReleaseConstraints(
            minimum_current_counter=2**32 - 2, support_ends_at_s=TIME_MAX_S
        ),
        deltas=tuple(
            DeltaFacts(
                base_size_bytes=16 << 20,
                base_sha256=bytes([number]) * 32,
                patch_size_bytes=65_935,
                patch_sha256=b"P" * 32,
                encoding=HEATSHRINK,
            )
            for number in range(3)
        ),
    )
    assert len(signed_manifest(largest, ("release-1", "release-2-ed", "release-3"))) <= 1024
    most = replace(
        ASSIGNMENT,
        product="p" * 64,
        campaign="c" * 48,
        pinned_serial_numbers=tuple(f"FL26A00000000000{n:04d}" for n in range(24)),
    )
    assert len(signed_assignment(most)) <= 1024
    assert len(signed_report(replace(REPORT, reason="r" * 64))) <= MESSAGE_MAX_BYTES


DELTA = {1: 65_936, 2: b"B" * 32, 3: 1125, 4: b"P" * 32, 5: 4, 6: 8, 7: 7}


@pytest.mark.parametrize(
    ("key", "value", "telling"),
    [
        (3, 0, "out of range"),
        (3, True, "wrong type"),
        (5, "", "wrong length"),
        (5, "flare\n", "cannot show"),
        (8, [1], "not a map"),
        (10, b"short", "wrong length"),
        (10, "text", "wrong type"),
        (4, 1, "wrong type"),
        (6, 9, "no hardware revision fits"),
        (1, 0, "not known here"),
        (1, 2, "lowest current release counter is missing"),
        (1, 3, "not known here"),
        (14, 1, "does not know"),
        (99, 1, "does not know"),
        (13, {}, "wrong type"),
        (13, [1], "not a map"),
        (13, [DELTA] * 4, "wrong length"),
        (13, [DELTA] * 2, "name a base twice"),
        (13, [DELTA, {**DELTA, 2: b"A" * 32}], "not sorted"),
        (13, [{**DELTA, 2: b"a" * 32}], "start from their own result"),
        (13, [{**DELTA, 3: 65_936}], "not smaller than their result"),
        (13, [{**DELTA, 5: 1}], "no device is asked to undo"),
        (13, [{**DELTA, 6: 15}], "no such patch encoding"),
        (13, [{**DELTA, 6: 99}], "out of range"),
        (13, [{**DELTA, 8: 0}], "does not know"),
    ],
)
def test_a_field_out_of_its_bounds_is_named(key, value, telling):
    fields = parse_cbor(serialize_manifest(MANIFEST), max_bytes=1024)
    fields[key] = value
    with pytest.raises(DeviceMessageError, match=telling):
        parse_manifest(serialize_cbor(fields))


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({14: 4}, "a step that does not come before it"),
        ({14: -1}, "out of range"),
        ({14: True}, "wrong type"),
        ({15: TIME_MAX_S + 1}, "out of range"),
        ({15: 1_830_297_599}, "outlives the support of its release"),
        ({14: 0, 15: 0}, "asks nothing and should have format 1"),
        ({1: 1}, "does not know"),
        ({16: 0}, "does not know"),
    ],
)
def test_step_and_support_are_stated_by_the_second_format_alone_and_make_sense(changes, telling):
    fields = parse_cbor(serialize_manifest(CONSTRAINED), max_bytes=1024) | changes
    with pytest.raises(DeviceMessageError, match=telling):
        parse_manifest(serialize_cbor(fields))


def test_a_manifest_that_asks_nothing_keeps_the_format_that_older_devices_read():
    plain = parse_cbor(serialize_manifest(MANIFEST), max_bytes=1024)
    assert (plain[1], list(plain)) == (1, list(range(1, 14)))
    stated = parse_cbor(serialize_manifest(CONSTRAINED), max_bytes=1024)
    assert (stated[1], list(stated)) == (2, list(range(1, 16)))
    assert parse_manifest(serialize_cbor(plain)).constraints == NO_CONSTRAINTS


@pytest.mark.parametrize(
    ("value", "telling"),
    [
        (["B", "A"], "not sorted"),
        (["A", "A"], "not sorted"),
        ([1], "wrong type"),
        ("A", "wrong type"),
        (["A"] * 25, "wrong length"),
    ],
)
def test_pinned_serial_numbers_have_one_form(value, telling):
    fields = parse_cbor(serialize_assignment(ASSIGNMENT), max_bytes=1024)
    fields[9] = value
    with pytest.raises(DeviceMessageError, match=telling):
        parse_assignment(serialize_cbor(fields))


def test_a_missing_field_and_a_wrong_flag_are_named():
    fields = parse_cbor(serialize_assignment(ASSIGNMENT), max_bytes=1024)
    del fields[10]
    with pytest.raises(DeviceMessageError, match="halted is missing"):
        parse_assignment(serialize_cbor(fields))
    fields[10] = 0
    with pytest.raises(DeviceMessageError, match="halted has a wrong type"):
        parse_assignment(serialize_cbor(fields))
    manifest = parse_cbor(serialize_manifest(MANIFEST), max_bytes=1024)
    manifest[8][3] = b"short"
    with pytest.raises(DeviceMessageError, match="0 or 32"):
        parse_manifest(serialize_cbor(manifest))


def test_a_report_envelope_has_two_parts():
    for content, telling in (
        (b"", "length"),
        (b"\xff", "deterministic"),
        (serialize_cbor([1]), "not a map"),
        (serialize_cbor({1: b"x", 2: b"y", 3: b"z"}), "does not know"),
    ):
        with pytest.raises(DeviceMessageError, match=telling):
            verify_device_report(content, trust(), now=NOW)


def test_the_draw_is_uniform_and_raising_the_share_keeps_those_drawn():
    serials = [f"FL26A{n:06d}" for n in range(2000)]
    draws = {serial: draw_ppm(ASSIGNMENT.salt, serial) for serial in serials}
    quarter = {serial for serial in serials if draws[serial] < 250_000}
    assert 400 < len(quarter) < 600
    wider = replace(ASSIGNMENT, drawn_ppm=500_000, pinned_serial_numbers=())
    assert all(wider.selects(serial) for serial in quarter)


def test_a_halt_stops_pinned_devices_too():
    assert ASSIGNMENT.selects(SERIAL)
    assert not replace(ASSIGNMENT, is_halted=True).selects(SERIAL)
    assert not replace(ASSIGNMENT, drawn_ppm=0).selects("FL26A999999")
    assert ASSIGNMENT.expires_at.year == 2026
    assert MANIFEST.expires_at.year == 2028
