"""Stations meet in one ledger: what they sign, what they refuse, and who owns a job and a name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from sqlalchemy import select

from provisioning.errors import Damage, LedgerDamageError, LedgerError, StationError
from provisioning.ledger import Ledger
from provisioning.ledger_events import Phase, chain_event
from provisioning.ledger_heads import newest_heads
from provisioning.ledger_queries import list_jobs
from provisioning.ledger_schema import events
from provisioning.ledger_values import UnitState
from provisioning.ledger_verification import verify_ledger
from provisioning.ledger_witness import (
    WITNESS_NAME,
    load_witness,
    require_witnessed,
    save_witness,
    writing_as_station,
)
from provisioning.station import meet_others
from provisioning.station_files import CA_CERTIFICATE_NAME, CA_KEY_NAME
from provisioning.station_founding import create_station
from provisioning.station_joining import join_station
from provisioning.station_keys import load_station_keys
from provisioning.station_lock import StationLock
from signing.key_files import generate_key
from signing.keys import Algorithm
from tests.conftest import IS_SOAK
from tests.provisioning.ledger_sites import BACK_ENDS, START, a_writer, made_site, reserve
from tests.provisioning.tampered_ledger import (
    NAMES,
    NOW,
    at_work,
    certificates,
    keys_of,
    work,
    work_a_day,
    writer_of,
)
from tests.softhsm import make_token


# Stations meet on both back ends in test_ledger_tampering.
@pytest.fixture(params=BACK_ENDS if IS_SOAK else ["sqlite"])
def site(request, tmp_path):
    return made_site(request.param, tmp_path, request)


@pytest.fixture
def ledger(site):
    ledger = Ledger.open(site.address)
    yield ledger
    ledger.close()


def chain(ledger, station):
    statement = select(events).where(events.c.station == station).order_by(events.c.number)
    with ledger.database.reading() as connection:
        return [(row.step, row.phase) for row in connection.execute(statement)]


def test_a_run_adds_one_signed_event_at_its_end_and_none_where_nothing_happened(
    site, ledger, tmp_path
):
    with at_work(site.address, tmp_path, NAMES[0]):
        pass
    assert chain(ledger, NAMES[0]) == []
    with at_work(site.address, tmp_path, NAMES[0]) as (opened, writer):
        work(opened, writer, mac=b"1" * 6, state=UnitState.PASS)
    before = chain(ledger, NAMES[0])
    assert before[-1] == ("heads", "NOTE")
    assert [step for step, _ in before].count("heads") == 1
    with at_work(site.address, tmp_path, NAMES[0]):
        pass
    assert chain(ledger, NAMES[0]) == before


def test_stations_write_down_how_far_the_others_have_come_with_what_they_signed(
    site, ledger, tmp_path
):
    work_a_day(site.address, tmp_path)
    with ledger.database.reading() as connection:
        last = newest_heads(connection, NAMES[2])
        for one in last.seen:
            signed = certificates().verify(one.signed, one.certificate)
            assert (signed.station, signed.ledger_uuid) == (one.station, "uuid-1")
            assert signed.count < one.count
        own = certificates().verify(last.signed, last.certificate)
    assert [one.station for one in last.seen] == list(NAMES[:2])
    assert (own.station, own.count) == (NAMES[2], last.number)


def test_a_crash_before_the_end_is_signed_at_the_next_start(site, ledger, tmp_path):
    writer = writer_of(NAMES[0])
    (tmp_path / NAMES[0]).mkdir()
    save_witness(tmp_path / NAMES[0], ledger, station=NAMES[0])
    work(ledger, writer, mac=b"1" * 6, state=None)  # and nobody signed it
    with at_work(site.address, tmp_path, NAMES[0]):
        pass
    assert chain(ledger, NAMES[0])[-1] == ("heads", "NOTE")


@pytest.mark.parametrize(
    ("statement", "damage"),
    [
        ("DELETE FROM events WHERE station = 'station-2'", Damage.TRUNCATED),
        ("UPDATE events SET hash = zeroblob(32) WHERE station = 'station-2' AND number = 1", None),
        ("DELETE FROM events WHERE station = 'station-1' AND number > 3", Damage.TRUNCATED),
    ],
)
def test_a_station_that_opens_a_damaged_ledger_stops_and_writes_nothing(
    site, ledger, tmp_path, statement, damage
):
    work_a_day(site.address, tmp_path)
    site.edit(statement)
    before = site.dump()
    if damage is None:  # nothing at the places that a start looks at: the whole audit finds it
        with pytest.raises(LedgerDamageError) as refusal:
            ledger.verify_chains()
        assert refusal.value.number == 1
        return
    with (
        pytest.raises(LedgerDamageError) as refusal,
        at_work(site.address, tmp_path / "another", NAMES[0], is_remembering=False),
    ):
        pytest.fail("it began to work")
    assert refusal.value.damage is damage
    assert site.dump() == before


@pytest.mark.parametrize("content", ["'text'", "zeroblob(3)", "x'a0'"])
def test_heads_that_are_no_event_stop_the_station_with_our_error(tmp_path, request, content):
    site = made_site("sqlite", tmp_path, request)
    work_a_day(site.address, tmp_path)
    site.edit(f"UPDATE events SET content = {content} WHERE step = 'heads'")  # noqa: S608
    before = site.dump()
    with pytest.raises(LedgerError), at_work(site.address, tmp_path, NAMES[0]):
        pytest.fail("it began to work")
    assert site.dump() == before


def test_a_tail_that_is_not_whole_is_not_signed(site, ledger, tmp_path):
    writer = writer_of(NAMES[0])
    work(ledger, writer, mac=b"1" * 6, state=None)
    site.edit("UPDATE events SET step = 'final' WHERE number = 1")
    before = site.dump()
    with pytest.raises(LedgerDamageError) as refusal:
        meet_others(ledger, writer, keys_of(NAMES[0]), now=NOW)
    assert (refusal.value.number, refusal.value.damage) == (1, Damage.EDITED)
    assert site.dump() == before


def test_two_stations_of_one_name_and_two_keys_do_not_share_a_chain(site, ledger, tmp_path):
    work_a_day(site.address, tmp_path)
    ours = keys_of(NAMES[0])
    twin = replace(
        ours,
        station_signer=keys_of(NAMES[1]).station_signer,
        station_der=keys_of(NAMES[1]).station_der,
    )
    for is_quiet in (True, False):  # whether there is nothing that would have to be signed
        if is_quiet:
            with at_work(site.address, tmp_path, NAMES[0]):
                pass
        else:
            work(ledger, writer_of(NAMES[0]), mac=b"9" * 6, state=None)
        before = site.dump()
        with pytest.raises(StationError, match="another station has this name"):
            meet_others(ledger, writer_of(NAMES[0]), twin, now=NOW)
        assert site.dump() == before


def test_a_run_loses_its_job_to_a_later_run_of_the_same_station(ledger):
    """Two processes were started under one name, on two machines: each job is one's alone."""
    first, second = writer_of(NAMES[0]), writer_of(NAMES[0])
    mine = reserve(ledger, first)
    taken = reserve(ledger, second)
    assert (taken.job, taken.is_resumed) == (mine.job, True)
    before = chain(ledger, NAMES[0])
    with pytest.raises(LedgerError, match="another run of this station works on this board now"):
        ledger.append(first, step="flash", phase=Phase.INTENT, data={}, reservation=mine)
    with pytest.raises(LedgerError, match="another run of this station"):
        ledger.finish(first, reservation=mine, unit_state=UnitState.PASS, data={})
    assert chain(ledger, NAMES[0]) == before
    ledger.finish(second, reservation=taken, unit_state=UnitState.PASS, data={})
    ledger.verify_chains()
    assert len(list_jobs(ledger.database, mine.serial)) == 1


def test_the_owner_of_a_job_follows_from_its_events(site, ledger):
    reserve(ledger, writer_of(NAMES[0]))
    reserve(ledger, writer_of(NAMES[0]))
    ledger.verify_chains()
    site.edit("UPDATE jobs SET run = 'run-of-nobody'")
    with pytest.raises(LedgerError, match="contradict its events") as refusal:
        ledger.verify_chains()
    assert "run" in refusal.value.where


def test_one_folder_serves_one_process_and_is_free_when_that_is_gone(tmp_path):
    code = (
        "import sys; from pathlib import Path; from provisioning.station_lock import StationLock\n"
        "lock = StationLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StationError, match="at work already") as refusal:
            StationLock(tmp_path)
        assert f"process {other.pid}" in refusal.value.got
        other.kill()
    lock = StationLock(tmp_path)
    lock.release()
    lock.release()
    with pytest.raises(StationError, match="cannot be taken"):
        StationLock(tmp_path / "nowhere")


def test_an_order_beside_a_station_at_work_leaves_its_memory_open(site, ledger, tmp_path):
    folder = tmp_path / NAMES[0]
    with at_work(site.address, tmp_path, NAMES[0]) as (opened, writer):
        work(opened, writer, mac=b"1" * 6, state=UnitState.PASS)
        lock = StationLock(folder)
        with writing_as_station(folder, ledger, station=NAMES[0]):
            ledger.append(writer, step="x", phase=Phase.NOTE, data={})
        assert load_witness(folder).is_closed is False
        lock.release()
    assert load_witness(folder).is_closed is True
    with writing_as_station(folder, ledger, station=NAMES[0]):
        ledger.append(writer, step="x", phase=Phase.NOTE, data={})
    require_witnessed(folder, ledger, station="station-1")
    assert load_witness(folder).is_closed is True
    ledger.append(writer, step="x", phase=Phase.NOTE, data={})
    with pytest.raises(LedgerDamageError, match="that the station did not write"):
        require_witnessed(folder, ledger, station="station-1")


def test_a_memory_of_an_earlier_version_is_read_as_open(site, ledger, tmp_path):
    with at_work(site.address, tmp_path, NAMES[0]) as (opened, writer):
        work(opened, writer, mac=b"1" * 6, state=None)
    path = tmp_path / NAMES[0] / WITNESS_NAME
    old = path.read_text().replace(',\n "is_closed": true', "")
    assert old != path.read_text()
    path.write_text(old)
    ledger.append(writer, step="x", phase=Phase.NOTE, data={})
    require_witnessed(path.parent, ledger, station="station-1")


def test_an_order_that_was_told_otherwise_than_it_was_signed_is_found(site, ledger, tmp_path):
    """A station that tells another reason, board or act than the supervisor signed."""
    work_a_day(site.address, tmp_path)
    statement = select(events).where(events.c.step == "supervise")
    with ledger.database.reading() as connection:
        orders = list(connection.execute(statement.order_by(events.c.station, events.c.number)))
    assert len(orders) == 3
    with ledger.database.reading() as connection:
        from provisioning.ledger_events import parse_event
        from provisioning.ledger_told_orders import require_told_order

        for row in orders:
            event = parse_event(row.content, where="")
            require_told_order(event, ledger.identity)
            for change in (
                {"reason": "another"}, {"act": "rework" if event.data["act"] != "rework" else "x"},
                {"answers": "00" * 32}, {"new_mac": "00" * 6}, {"order": ""}, {"order": "zz"},
                {"order": event.data["order"][:-2]},
            ):  # fmt: skip
                told = replace(event, data={**event.data, **change})
                assert chain_event(told, previous=bytes(32))
                with pytest.raises(LedgerError, match="contradict its events"):
                    require_told_order(told, ledger.identity)
            with pytest.raises(LedgerError, match="contradict its events"):
                require_told_order(replace(event, mac=b"x" * 6), ledger.identity)


def make_first(folder, address, **changes):
    return create_station(
        folder, product="flare", station_name="station-1", ledger_uuid="uuid-1", now=START,
        passphrase=None, is_test_key=True, ledger=address, **changes,
    )  # fmt: skip


def join(folder, factory, address, *, name="station-2", **changes):
    return join_station(
        folder, factory, address, product="flare", station_name=name, now=NOW, passphrase=None,
        **changes,
    )  # fmt: skip


def test_a_name_is_taken_by_joining_and_not_given_twice(tmp_path):
    address = tmp_path / "shared.sqlite3"
    make_first(tmp_path / "one", address)
    join(tmp_path / "two", tmp_path / "one", address)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StationError, match="another station has this name"):
        join(tmp_path / "three", tmp_path / "one", address)
    assert [path for path in sorted(tmp_path.rglob("*")) if "sqlite" not in path.name] == [
        path for path in before if "sqlite" not in path.name
    ]
    ledger = Ledger.open(address)
    assert chain(ledger, "station-2") == [("heads", "NOTE")]
    witness = load_witness(tmp_path / "two")
    assert (witness.station, witness.count, witness.is_closed) == ("station-2", 1, True)
    keys = load_station_keys(tmp_path / "two", station_name="station-2", now=NOW, passphrase=None)
    with ledger.database.reading() as connection:
        heads = newest_heads(connection, "station-2")
    assert heads.certificate == keys.station_der
    verified = verify_ledger(ledger, folder=tmp_path / "two", now=NOW, is_ca_needed=True)
    assert [one.station for one in verified.chains] == ["station-2"]
    ledger.close()


def test_a_ca_in_another_file_signs_a_station_and_stays_where_it_is(tmp_path):
    address, ca = tmp_path / "shared.sqlite3", tmp_path / "elsewhere.pem"
    generate_key(ca, Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    make_first(tmp_path / "one", address, ca_uri=str(ca))
    join(tmp_path / "two", tmp_path / "one", address, ca_uri=str(ca))
    assert not (tmp_path / "two" / CA_KEY_NAME).exists()
    load_station_keys(
        tmp_path / "two", station_name="station-2", now=NOW, passphrase=None, ca_uri=str(ca)
    )
    with pytest.raises(StationError, match="CA is not in this folder"):
        join(tmp_path / "three", tmp_path / "one", address, name="station-3")
    stranger = tmp_path / "stranger.pem"
    generate_key(stranger, Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    with pytest.raises(StationError, match="key and certificate do not belong together"):
        join(tmp_path / "three", tmp_path / "one", address, name="station-3", ca_uri=str(stranger))
    assert not (tmp_path / "three").exists()


def test_a_ca_in_a_token_signs_a_station_whose_key_is_encrypted(tmp_path, monkeypatch):
    token, ca = make_token(), tmp_path / "ca.pem"
    generate_key(ca, Algorithm.ECDSA_P256, passphrase=None, is_test_key=True)
    uri = token.import_key(ca, "ca")
    ca.unlink()
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    address = tmp_path / "shared.sqlite3"
    make_first(tmp_path / "one", address, ca_uri=uri)
    factory = tmp_path / "stick"
    factory.mkdir()
    (factory / CA_CERTIFICATE_NAME).write_bytes(
        (tmp_path / "one" / CA_CERTIFICATE_NAME).read_bytes()
    )
    join_station(
        tmp_path / "two", factory, address, product="flare", station_name="station-2", now=NOW,
        passphrase=lambda: b"correct horse", ca_uri=uri,
    )  # fmt: skip
    keys = load_station_keys(
        tmp_path / "two", station_name="station-2", now=NOW, ca_uri=uri,
        passphrase=lambda: b"correct horse",
    )  # fmt: skip
    assert b"ENCRYPTED" in (tmp_path / "two" / "station.pem").read_bytes()
    assert keys.ca_der == (factory / CA_CERTIFICATE_NAME).read_bytes()


def test_a_writer_without_a_run_is_one_of_before(ledger):
    writer = a_writer()
    mine = reserve(ledger, writer)
    ledger.append(writer, step="flash", phase=Phase.INTENT, data={}, reservation=mine)
    ledger.verify_chains()
