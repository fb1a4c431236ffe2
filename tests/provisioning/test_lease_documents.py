"""A lease is read as it was signed by its own station, or not at all."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioning.errors import LeaseError
from provisioning.lease import (
    COUNT_MAX,
    DAYS_MAX,
    NUMBER_MAX,
    parse_lease,
    serialize_lease,
    sign_lease,
    verify_lease,
)
from provisioning.ledger_epochs import sequences_of_epoch
from provisioning.serial_formats import STANDARD_PICTURE, SerialDate, parse_format
from signing.errors import SigningError
from signing.refusal import Refusal
from tests.conftest import IS_SOAK
from tests.gallery import committed_files, read_expected, tell_outcome
from tests.provisioning.golden_lease import (
    FOLDER,
    LEASE,
    NOW,
    OTHER_STATION,
    STATION,
    build,
    certificates,
)
from tests.provisioning.rejected_leases import LEASES, read_lease

CA_DER, STATION_DER = certificates()


def verify(content):
    return verify_lease(
        content, station="station-1", station_der=STATION_DER, ca_der=CA_DER, now=NOW
    )


@st.composite
def leases(draw):
    epoch = draw(st.integers(1, 32))
    pictures = [STANDARD_PICTURE, "PPMMYYSSSSC", "PSSSSSSC", "PPPMMMYYWWSSS"]
    shape = parse_format(draw(st.sampled_from(pictures)))
    allowed = sequences_of_epoch(epoch, shape)
    first = draw(st.integers(allowed[0], allowed[-1]))
    last = min(first + draw(st.integers(0, COUNT_MAX - 1)), allowed[-1])
    issued_at = draw(
        st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2090, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
    )
    lasts = draw(st.timedeltas(dt.timedelta(microseconds=1), dt.timedelta(days=DAYS_MAX)))
    return replace(
        LEASE,
        epoch=epoch,
        opening=draw(st.none() | st.just("0b8a4d34-9a58-4d5c-8a6e-0d7f8f6f2a10")),
        station=draw(st.from_regex(r"[a-z0-9][a-z0-9-]{0,56}", fullmatch=True)),
        number=draw(st.integers(1, NUMBER_MAX)),
        request=draw(st.binary(min_size=16, max_size=16)),
        prefix=draw(st.from_regex(rf"[0-9A-Z]{{{shape.prefix_length}}}", fullmatch=True)),
        model=draw(st.from_regex(rf"[0-9A-Z]{{{shape.model_length}}}", fullmatch=True)),
        year=draw(st.integers(2000, 2099)) if shape.date is not SerialDate.NONE else 0,
        week=draw(st.integers(1, 52)) if shape.date is SerialDate.WEEK else 0,
        first_sequence=first,
        last_sequence=last,
        issued_at=issued_at,
        expires_at=issued_at + lasts,
        event_count=draw(st.integers(1, 2**53)),
        head=draw(st.binary(min_size=32, max_size=32)),
        place=draw(st.binary(min_size=32, max_size=32)),
        serial_format=shape,
    )


@given(lease=leases())
@settings(max_examples=200 if IS_SOAK else 20, deadline=None)
def test_a_lease_is_read_as_it_was_written(lease):
    assert parse_lease(serialize_lease(lease)) == lease


@given(content=st.binary(max_size=600))
@settings(deadline=None)
def test_arbitrary_bytes_raise_only_our_errors(content):
    with pytest.raises(LeaseError):
        parse_lease(content)
    with pytest.raises(Refusal):
        verify(content)


def test_any_flipped_bit_of_a_signed_lease_is_refused():
    golden = (FOLDER / "lease.cose").read_bytes()
    assert verify(golden) == LEASE
    step = 1 if IS_SOAK else 7  # prime to 8: each byte, and in turn each of its bits
    for bit in range(0, len(golden) * 8, step):
        changed = bytearray(golden)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refusal):
            verify(bytes(changed))


def test_the_golden_lease_is_read_and_written_as_it_was_made():
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != "README.md"}
    assert build() == files
    document = cbor2.loads(files["lease.cbor"])
    assert cbor2.dumps(document, canonical=True) == files["lease.cbor"]
    assert list(document) == list(range(1, 20))
    assert (document[5], document[12], document[13]) == ("station-1", 1_048_617, 1_048_716)
    assert LEASE.serial(LEASE.first_sequence) == "AMPFLR260710019C"


def test_a_lease_of_another_station_or_factory_is_refused():
    lease = replace(LEASE, station="station-2")
    with pytest.raises(LeaseError, match="another station's"):
        verify(sign_lease(lease, STATION))
    with pytest.raises(SigningError):
        verify(sign_lease(LEASE, OTHER_STATION))
    with pytest.raises(SigningError):
        verify_lease(
            sign_lease(LEASE, STATION), station="station-1", station_der=STATION_DER,
            ca_der=STATION_DER, now=NOW,
        )  # fmt: skip


@pytest.mark.parametrize("name", sorted(committed_files(LEASES)))
def test_the_lease_is_refused_in_exactly_these_words(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = committed_files(LEASES)[name]
    assert tell_outcome(lambda: LEASES.read(name, content)) == read_expected(LEASES)[name]
    assert list(tmp_path.iterdir()) == []


def test_the_gallery_of_leases_is_what_its_builder_writes():
    assert LEASES.build() == committed_files(LEASES)
    assert set(read_expected(LEASES)) == set(LEASES.build())
    assert "accepted" not in read_expected(LEASES).values()
    assert read_lease("right", (FOLDER / "lease.cose").read_bytes()) == LEASE
