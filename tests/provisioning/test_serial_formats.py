"""Formats of serial numbers: each is read in one way only, and a ledger keeps the one it has."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import LedgerError, SerialNumberError
from provisioning.ledger import Ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_epochs import epoch_of_sequence, sequences_of_epoch
from provisioning.ledger_events import Phase
from provisioning.ledger_formats import FORMAT_STEP
from provisioning.ledger_queries import find_void
from provisioning.ledger_restore import restore_ledger
from provisioning.ledger_values import Writer
from provisioning.serial_capacity import measure_capacity
from provisioning.serial_formats import (
    GS1_SERIAL_MAX_LENGTH,
    SEQUENCE_ALPHABET,
    STANDARD_FORMAT,
    SerialDate,
    SerialFormat,
    parse_format,
)
from provisioning.serial_numbers import SerialNumber, parse_serial
from provisioning.station_settings import SerialSettings
from tests.provisioning.ledger_sites import (
    BACK_ENDS,
    START,
    a_writer,
    empty_site,
    made_site,
    reserve,
)

formats = st.builds(
    SerialFormat,
    prefix_length=st.integers(1, 3),
    model_length=st.integers(0, 3),
    date=st.sampled_from(SerialDate),
    sequence_length=st.integers(3, 6),
    has_check=st.booleans(),
)


@st.composite
def serials(draw):
    serial_format = draw(formats)
    codes = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    has_date = serial_format.date is not SerialDate.NONE
    return SerialNumber(
        prefix=draw(codes.map(lambda text: (text + "AMP")[: serial_format.prefix_length])),
        model=draw(codes.map(lambda text: (text + "FL1")[: serial_format.model_length])),
        year=draw(st.integers(2000, 2099)) if has_date else 0,
        week=draw(st.integers(1, 52)) if serial_format.date is SerialDate.WEEK else 0,
        sequence=draw(st.integers(1, serial_format.sequence_max)),
        format=serial_format,
    )


@given(formats)
def test_a_picture_is_read_back_and_fits_the_label(serial_format):
    assert parse_format(serial_format.picture) == serial_format
    assert serial_format.length <= GS1_SERIAL_MAX_LENGTH


@given(serials())
def test_what_is_written_in_any_format_is_read_back(serial):
    assert parse_serial(str(serial), serial.format) == serial
    assert len(str(serial)) == serial.format.length


@given(st.text(max_size=24), formats)
def test_arbitrary_text_in_any_format_raises_only_our_error(text, serial_format):
    try:
        serial = parse_serial(text, serial_format)
    except SerialNumberError:
        return
    assert str(serial) == text


def test_the_golden_numbers_of_the_specification():
    told = [
        ("PPPMMMYYWWSSSSSC", ("AMP", "FL1", 2026, 48, 1), "AMPFL1264800001A"),
        ("PPPMMMYYWWSSSSS", ("AMP", "FL1", 2026, 48, 1), "AMPFL1264800001"),
        ("PPMMYYSSSSC", ("AM", "F1", 2026, 0, 33), "AMF12600117"),
        ("PSSSSSSC", ("A", "", 0, 0, 1048575), "A00ZZZZ8"),
    ]
    for picture, (prefix, model, year, week, sequence), text in told:
        number = SerialNumber(
            prefix=prefix, model=model, year=year, week=week, sequence=sequence,
            format=parse_format(picture),
        )  # fmt: skip
        assert str(number) == text


@pytest.mark.parametrize(
    "picture",
    ["", "MMMSSSSC", "PPPPSSSS", "PPPMMMMSSSS", "PPPWWSSSS", "PPPSS", "PPPSSSSSSS", "PPPSSSSCC",
     "pppssss", "PPP-SSSS", "PPPSSSSC\n", "CPPPSSSS", "YYPPPSSSS", "P" * 30, "\uff30PPSSSS"],
)  # fmt: skip
def test_what_is_no_picture_of_a_number_is_refused(picture):
    with pytest.raises(SerialNumberError, match="not a format") as refusal:
        parse_format(picture)
    assert "SSS to SSSSSS" in refusal.value.expected
    with pytest.raises(ValueError, match="format"):
        SerialSettings(format=picture)


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"format": "PPMMMSSSSC"}, "prefix"),
        ({"format": "PPPMMSSSSC", "model": "FL1"}, "model"),
        ({"format": "PPPSSSSC", "model": "FL1"}, "no characters"),
    ],
)
def test_codes_that_do_not_fit_the_format_are_refused_with_the_settings(changes, telling):
    with pytest.raises(ValueError, match=telling):
        SerialSettings(**changes)


def test_the_products_model_is_used_only_where_the_format_has_one():
    assert SerialSettings(format="PPPSSSSC").find_model("FL1") == ""
    assert SerialSettings().find_model("FL1") == "FL1"
    with pytest.raises(SerialNumberError, match="model"):
        SerialSettings().find_model("FLARE")


@given(formats, st.integers(1, 32))
def test_epochs_share_no_sequence_and_leave_none_out(serial_format, epoch):
    allowed = sequences_of_epoch(epoch, serial_format)
    assert epoch_of_sequence(allowed[0], serial_format) == epoch
    assert epoch_of_sequence(allowed[-1], serial_format) == epoch
    last = sequences_of_epoch(32, serial_format)[-1]
    assert (
        last
        == serial_format.sequence_max
        == len(SEQUENCE_ALPHABET) ** (serial_format.sequence_length) - 1
    )


def make(address, picture):
    return create_ledger(
        address, product="flare", ledger_uuid="uuid-1", created_at=START,
        serial_format=parse_format(picture), station="station-1",
    )  # fmt: skip


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_ledger_gives_numbers_of_its_own_format_and_audits_them(back_end, tmp_path, request):
    site = empty_site(back_end, tmp_path, request)
    identity = make(site.address, "PPMMYYSSSSC")
    ledger = Ledger.open(site.address)
    assert ledger.identity == identity
    given = [
        reserve(ledger, a_writer(), mac=bytes([0, 0, 0, 0, 0, n]), prefix="AM", model="F1").serial
        for n in range(3)
    ]
    assert [parse_serial(one, identity.serial_format).sequence for one in given] == [1, 2, 3]
    assert given[0].startswith("AMF1260001")
    with pytest.raises(SerialNumberError, match="prefix"):
        reserve(ledger, a_writer(), mac=bytes([0, 0, 0, 0, 0, 9]), prefix="AMP", model="F1")
    assert ledger.verify_chains()["station-1"][0] == 4
    ledger.close()


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_restored_ledger_keeps_its_format_and_voids_in_it(back_end, tmp_path, request):
    site = empty_site(back_end, tmp_path, request)
    make(site.address, "PPPSSSC")
    ledger = Ledger.open(site.address)
    first = reserve(ledger, a_writer(), model="").serial
    ledger.close()
    write_backup(site.address, tmp_path / "backup", now=START)
    later = START + dt.timedelta(days=30)
    restored = restore_ledger(
        tmp_path / "backup", tmp_path / "new.sqlite3", a_writer(start=later),
        opening="opening-1", reason="the disk broke",
    )  # fmt: skip
    serial_format = parse_format("PPPSSSC")
    assert restored.identity.serial_format == serial_format
    assert [(void.first_sequence, void.last_sequence) for void in restored.voided] == [(2, 1023)]
    ledger = Ledger.open(tmp_path / "new.sqlite3")
    lost = parse_serial(restored.voided[0].serial_in(serial_format, 2), serial_format)
    assert "the disk broke" in find_void(ledger.database, lost).reason
    assert find_void(ledger.database, parse_serial(first, serial_format)) is None
    second = reserve(ledger, a_writer(start=later), mac=bytes(6), model="").serial
    assert parse_serial(second, serial_format).sequence == 1024
    ledger.verify_chains()
    ledger.close()


def test_a_format_that_is_stated_later_is_refused_by_the_audit(tmp_path, request):
    site = made_site("sqlite", tmp_path, request)
    ledger = Ledger.open(site.address)
    writer = a_writer()
    reserve(ledger, writer)
    ledger.append(writer, step=FORMAT_STEP, phase=Phase.CONFIRM, data={"format": "PPPSSSC"})
    with pytest.raises(LedgerError, match="not stated properly"):
        ledger.verify_chains()
    ledger.close()
    again = Ledger.open(site.address)
    assert again.identity.serial_format == STANDARD_FORMAT
    again.close()


@pytest.mark.parametrize(
    ("station", "data", "telling"),
    [
        ("station-9", {"format": "PPPSSSC"}, "one event"),
        ("station-1", {"format": "SSSPPPC"}, "P to PPP"),
    ],
)
def test_a_ledger_with_two_formats_or_none_that_is_one_is_not_opened(
    tmp_path, request, station, data, telling
):
    site = empty_site("sqlite", tmp_path, request)
    if station == "station-9":
        make(site.address, "PPMMYYSSSSC")
    else:
        create_ledger(site.address, product="flare", ledger_uuid="u", created_at=START)
    ledger = Ledger.open(site.address)
    writer = Writer(station=station, now=lambda: START, new_job=lambda: "j")
    ledger.append(writer, step=FORMAT_STEP, phase=Phase.CONFIRM, data=data)
    ledger.close()
    before = site.dump()
    with pytest.raises(LedgerError, match="not stated properly") as refusal:
        Ledger.open(site.address)
    assert telling in str(refusal.value)
    assert site.dump() == before


def test_capacity_counts_what_is_left_and_says_when_it_runs_out(tmp_path):
    make(tmp_path / "ledger", "PPPSSSC")
    ledger = Ledger.open(tmp_path / "ledger")
    empty = measure_capacity(ledger, prefix="AMP", model="", now=START)
    assert (empty.total, empty.left, empty.recent_count) == (1023, 1023, 0)
    assert empty.is_enough
    assert empty.describe() == "PPPSSSC, such as AMP001J: 1 023 for ever"
    for number in range(30):
        reserve(ledger, a_writer(), mac=number.to_bytes(6, "big"), model="")
    used = measure_capacity(ledger, prefix="AMP", model="", now=START + dt.timedelta(days=1))
    assert (used.left, used.recent_count, used.is_enough) == (993, 30, True)
    assert "at which rate they last 2 years" in used.describe()
    other = measure_capacity(ledger, prefix="XYZ", model="", now=START)
    assert other.left == other.total
    ledger.close()


def test_numbers_of_a_week_need_to_last_for_that_week_alone(tmp_path, request):
    site = made_site("sqlite", tmp_path, request)
    ledger = Ledger.open(site.address)
    for number in range(3):
        reserve(ledger, a_writer(), mac=number.to_bytes(6, "big"))
    site.edit("UPDATE serial_numbers SET sequence = 1048575 WHERE sequence = 3")
    week = measure_capacity(ledger, prefix="AMP", model="FLR", now=START)
    assert (week.total, week.left, week.days_needed) == (1048575, 0, 6)
    assert not week.is_enough
    ledger.close()
