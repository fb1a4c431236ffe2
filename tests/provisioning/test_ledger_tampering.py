"""Whatever is changed in a ledger behind the stations' backs is found, and named."""

from __future__ import annotations

import datetime as dt
import random
import re
import shutil
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import and_, func, select, update

from provisioning.chain_heads import ChainHead, sign_head
from provisioning.errors import Damage, LedgerDamageError
from provisioning.ledger import Ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_events import Phase, chain_event
from provisioning.ledger_heads import newest_heads, read_heads
from provisioning.ledger_restore import restore_ledger
from provisioning.ledger_schema import events, metadata
from provisioning.ledger_verification import verify_ledger
from provisioning.ledger_witness import load_witness, save_witness
from tests.conftest import IS_SOAK
from tests.provisioning.ledger_sites import BACK_ENDS, made_site, reserve
from tests.provisioning.tampered_ledger import (
    NAMES,
    NOW,
    at_work,
    cells,
    certificates,
    is_refused_by_the_database,
    keys_of,
    row_of,
    tampering,
    work_a_day,
    writer_of,
)

SEED = 20260210
STATIONS = NAMES if IS_SOAK else NAMES[1:2]


@pytest.fixture(scope="module", params=BACK_ENDS)
def worked(request, tmp_path_factory):
    """The ledger after a day, and the folders of its stations."""
    folder = tmp_path_factory.mktemp(request.param)
    site = made_site(request.param, folder, request)
    work_a_day(site.address, folder)
    ledger = Ledger.open(site.address)
    yield ledger, folder
    ledger.close()


@pytest.fixture
def tampered(worked):
    with tampering(*worked) as one:
        yield one


def last(tampered, station):
    return tampered.rows(station)[-1]["number"]


def test_nothing_is_found_where_nothing_was_changed(worked, tampered):
    assert tampered.found_by() == {}
    tampered.verify(None)
    ledger, folder = worked
    shutil.copytree(folder / NAMES[0], folder / "with-ca", dirs_exist_ok=True)
    (folder / "with-ca" / "factory-ca.cert.der").write_bytes(keys_of(NAMES[0]).ca_der)
    verified = verify_ledger(ledger, folder=folder / "with-ca", now=NOW, is_ca_needed=True)
    assert (verified.is_signature_verified, verified.is_witnessed) == (True, True)
    assert [chain.station for chain in verified.chains] == list(NAMES)
    # All but the event that holds the signature: at the end of each run everything is signed.
    assert all(chain.signed_count == chain.count - 1 for chain in verified.chains)


def changed(value, generator):
    """Another value of the same type; for an optional column, None counts as one."""
    if value is None:
        return "AMPFLR260700001R"
    if isinstance(value, bytes):
        place = generator.randrange(max(len(value), 1))
        return value[:place] + bytes([(value[place] if value else 0) ^ 1]) + value[place + 1 :]
    if isinstance(value, int):
        return value + generator.choice((1, 1000))
    place = generator.randrange(len(value)) if value else 0
    letter = "b" if value[place : place + 1] == "a" else "a"
    return value[:place] + letter + value[place + 1 :]


def sampled_cells(back_end):
    generator = random.Random(SEED)
    found = []
    # What is looked at is the same on both; a server answers each question more slowly.
    step = 3 if back_end == "postgresql" and not IS_SOAK else 1
    for table, column in cells()[::step]:
        of_event = table == "events"
        count = (100 if of_event else 20) if IS_SOAK else (2 if of_event else 1)
        found += [(table, column, generator.randrange(1 << 30)) for _ in range(count)]
    return found


@pytest.mark.no_cover
def test_a_change_to_any_cell_of_any_row_is_found(worked):
    ledger, folder = worked
    missed, seen = [], set()
    for name, column, seed in sampled_cells(ledger.database._engine.dialect.name):
        table = metadata.tables[name]
        generator = random.Random(seed)
        with tampering(ledger, folder) as tampered:
            rows = tampered.connection.execute(select(table).order_by(*table.primary_key)).all()
            if not rows:
                continue
            row = generator.choice(rows)
            key = [part == row._mapping[part.name] for part in table.primary_key]
            value = changed(row._mapping[column], generator)
            if (name, column, tuple(map(str, key)), value) in seen:
                continue
            statement = update(table).where(and_(*key)).values({column: value})
            if is_refused_by_the_database(partial(tampered.connection.execute, statement)):
                continue
            error = tampered.finding(None)  # without any station's memory
            if error is None:
                missed.append((name, column, row._mapping[column], value))
            elif name == "events":
                assert isinstance(error, LedgerDamageError), column
                if column not in {"station", "number"}:
                    named = (error.station, error.number, error.damage)
                    assert named == (row.station, row.number, Damage.EDITED), column
    assert missed == []


@pytest.mark.parametrize("station", STATIONS)
def test_a_deleted_event_is_named_wherever_it_lay(tampered, station):
    places = range(last(tampered, station))
    for number in places if IS_SOAK else (0, *random.Random(station).sample(places, 2)):
        savepoint = tampered.connection.begin_nested()
        tampered.remove(station, number)
        found = tampered.found_by()
        savepoint.rollback()
        assert set(found) == set(NAMES)
        error = found[station]
        assert (error.station, error.number, error.damage) == (station, number, Damage.DELETED)


@pytest.mark.parametrize("station", STATIONS)
def test_a_run_out_of_the_middle_is_missed_at_its_first_event(tampered, station):
    generator = random.Random(station)
    for _ in range(20 if IS_SOAK else 3):
        first = generator.randrange(last(tampered, station) - 1)
        end = generator.randrange(first + 1, last(tampered, station))
        savepoint = tampered.connection.begin_nested()
        tampered.remove(station, *range(first, end))
        error = tampered.found_by()[NAMES[1]]
        savepoint.rollback()
        assert (error.station, error.number, error.damage) == (station, first, Damage.DELETED)


@pytest.mark.parametrize("station", STATIONS)
def test_a_tail_that_was_cut_off_is_found_by_its_own_station_and_up_to_a_meeting_by_all(
    tampered, station
):
    with_memory = load_witness(tampered.folder / station).count
    seen = max(
        one.count
        for other in NAMES
        if other != station
        for one in newest_heads(tampered.connection, other).seen
        if one.station == station
    )
    counts = {0, 1, seen - 1, min(seen, with_memory - 1), with_memory - 1}
    for count in range(with_memory) if IS_SOAK else sorted(counts):
        savepoint = tampered.connection.begin_nested()
        tampered.remove(station, *range(count, with_memory))
        found = tampered.found_by()
        savepoint.rollback()
        error = found[station]
        assert (error.station, error.number, error.damage) == (station, count, Damage.TRUNCATED)
        if count < seen:
            assert set(found) == set(NAMES)
            assert all(one.damage is Damage.TRUNCATED for one in found.values())


def test_a_chain_that_is_gone_is_found(tampered):
    for station in NAMES:
        savepoint = tampered.connection.begin_nested()
        tampered.remove(station, *range(last(tampered, station) + 1))
        found = tampered.found_by()
        savepoint.rollback()
        assert set(found) == set(NAMES)
        assert (found[station].number, found[station].damage) == (0, Damage.TRUNCATED)


@pytest.mark.parametrize("how", ["contents", "numbers"])
def test_two_events_that_changed_places_are_found(tampered, how):
    generator = random.Random(how)
    for station in NAMES:
        rows = tampered.rows(station)
        left, right = sorted(generator.sample(range(len(rows)), 2))
        savepoint = tampered.connection.begin_nested()
        if how == "numbers":
            for before, after in ((left, 9999), (right, left), (9999, right)):
                tampered.change(station, before, number=after)
        else:
            for at in (left, right):  # each hash is there only once
                tampered.change(station, at, hash=bytes(31) + bytes([at]))
            for at, of in ((left, right), (right, left)):
                tampered.change(station, at, **{**rows[of], "number": at})
        found = tampered.found_by()
        savepoint.rollback()
        assert set(found) == set(NAMES)
        error = found[station]
        assert (error.station, error.number, error.damage) == (station, left, Damage.REORDERED)


def test_an_event_that_was_renumbered_is_found_where_it_is_missing(tampered):
    for station in NAMES:
        number = last(tampered, station) // 2
        for target in (-1, 9999):
            savepoint = tampered.connection.begin_nested()
            tampered.change(station, number, number=target)
            error = tampered.found_by()[station]
            savepoint.rollback()
            assert error.damage is Damage.REORDERED
            assert (error.station, error.number) == (station, min(target, number))


def edits_by_a_knowing_forger(generator, contents):
    """Ways to write a chain anew so that every number, link and column fits."""
    place = generator.randrange(len(contents))
    other = generator.randrange(len(contents))
    event = contents[place]
    later = event.at + dt.timedelta(seconds=1)
    yield "edited", [*contents[:place], replace(event, at=later), *contents[place + 1 :]]
    forged = replace(event, data={**event.data, "forged": True})
    yield "data", [*contents[:place], forged, *contents[place + 1 :]]
    yield "deleted", [*contents[:place], *contents[place + 1 :]]
    yield "inserted", [*contents[:place], forged, *contents[place:]]
    if place != other and contents[place] != contents[other]:
        swapped = list(contents)
        swapped[place], swapped[other] = swapped[other], swapped[place]
        yield "swapped", swapped
    yield "truncated", contents[:place]
    yield "appended", [*contents, replace(forged, step="final", phase=Phase.NOTE)]
    without = [one for one in contents if one.step != "heads"]
    yield "without heads", without
    yield (
        "padded",
        [replace(one, step="flash", data={}) if one.step == "heads" else one for one in contents],
    )


@pytest.mark.parametrize("station", STATIONS)
def test_a_chain_that_was_written_anew_without_its_key_is_found(tampered, station):
    contents = tampered.contents(station)
    generator = random.Random(station)
    for _ in range(60 if IS_SOAK else 2):
        for what, forged in edits_by_a_knowing_forger(generator, contents):
            savepoint = tampered.connection.begin_nested()
            tampered.replace_chain(station, forged)
            error = tampered.finding(station)
            savepoint.rollback()
            assert isinstance(error, LedgerDamageError), what
            assert error.station == station, what


@pytest.mark.parametrize("station", STATIONS)
def test_a_station_that_writes_its_own_chain_anew_contradicts_what_others_saw(tampered, station):
    """Whoever holds a station's key, and its memory too, can sign another past, but not unseen."""
    seen = {
        one.station: one.count
        for other in NAMES
        if other != station
        for one in newest_heads(tampered.connection, other).seen
    }[station]
    contents = tampered.contents(station)
    place = random.Random(station).randrange(1, seen - 1)
    contents[place] = replace(contents[place], data={**contents[place].data, "forged": True})
    tampered.replace_chain(station, signed_anew(tampered, station, contents, after=place))
    found = tampered.found_by()
    for other in set(NAMES) - {station}:
        assert found[other].station == station
        assert found[other].damage is Damage.EDITED
        assert found[other].number >= place


def signed_anew(tampered, station, contents, *, after):
    """Sign every head behind a place again, with the station's own key."""
    identity, made, head = tampered.ledger.identity, [], bytes(32)
    for number, event in enumerate(contents):
        one = event
        if event.step == "heads" and number > after:
            signed = sign_head(
                ChainHead(
                    ledger_uuid=identity.uuid, epoch=event.epoch, station=station, count=number,
                    head=head, at=event.at,
                ),
                keys_of(station).station_signer,
            )  # fmt: skip
            one = replace(event, data={**event.data, "signed": signed.hex()})
        made.append(replace(one, number=number))
        head = chain_event(made[-1], previous=head).hash
    return made


def forged_heads(tampered, station):
    """Heads that are not what the station signed here, each with what is wrong with it."""
    identity, other = tampered.ledger.identity, "station-2" if station != "station-2" else NAMES[0]
    rows = tampered.rows(station)
    number = max(row["number"] for row in rows if row["step"] == "heads")
    event = tampered.contents(station)[number]
    head = ChainHead(
        ledger_uuid=identity.uuid, epoch=1, station=station, count=number,
        head=rows[number - 1]["hash"], at=event.at,
    )  # fmt: skip
    data, own, foreign = event.data, keys_of(station), keys_of(other)
    theirs = newest_heads(tampered.connection, other)
    signature = bytes.fromhex(data["signed"])
    first = read_heads(next(one for one in tampered.contents(station) if one.step == "heads"))

    def signed(signer, **changes):
        return sign_head(replace(head, **changes), signer).hex()

    outsider = keys_of(station, "another ca")
    yield "by another station", {"signed": signed(foreign.station_signer)}
    yield "with its certificate", {
        "signed": signed(foreign.station_signer), "certificate": foreign.station_der.hex(),
    }  # fmt: skip
    yield "another station's head", {
        "signed": theirs.signed.hex(), "certificate": theirs.certificate.hex(),
    }  # fmt: skip
    yield "of another factory", {
        "signed": signed(outsider.station_signer), "certificate": outsider.station_der.hex(),
    }  # fmt: skip
    yield "signature swapped", {
        "signed": (signature[:-64] + first.signed[-64:]).hex(),
    }  # fmt: skip
    yield "of another ledger", {"signed": signed(own.station_signer, ledger_uuid="uuid-9")}
    yield "of a later epoch", {"signed": signed(own.station_signer, epoch=2)}
    yield "of more events", {"signed": signed(own.station_signer, count=number + 1)}
    yield "of another hash", {"signed": signed(own.station_signer, head=bytes(31) + b"\1")}
    yield "of another product", {"product": "other"}
    yield "seen damaged", {"seen": [{"station": other}]}
    yield "signed damaged", {"signed": "zz"}
    yield "signed nothing", {"signed": ""}


@pytest.mark.parametrize("station", STATIONS)
def test_a_head_that_the_station_did_not_sign_here_is_found_by_everybody(tampered, station):
    contents = tampered.contents(station)
    number = max(place for place, one in enumerate(contents) if one.step == "heads")
    for what, change in forged_heads(tampered, station):
        forged = list(contents)
        forged[number] = replace(forged[number], data={**forged[number].data, **change})
        savepoint = tampered.connection.begin_nested()
        tampered.replace_chain(station, forged)
        error = tampered.finding(None)
        savepoint.rollback()
        assert error is not None, what
        assert re.search(f"station {station}, event ", error.where), what


def test_a_forged_event_at_the_end_of_a_chain_that_its_station_left_is_found(tampered):
    station = NAMES[0]
    contents = tampered.contents(station)
    forged = replace(contents[-2], number=len(contents), step="flash", phase=Phase.NOTE, data={})
    previous = tampered.rows(station)[-1]["hash"]
    tampered.add(row_of(chain_event(forged, previous=previous)))
    error = tampered.found_by()[station]
    assert (error.number, error.damage) == (len(contents), Damage.FORGED)
    # Nobody else can know: this is what §8.3 of the specification says.
    assert set(tampered.found_by()) == {station}


def test_an_event_of_another_chain_in_its_place_is_found(tampered):
    first, second = NAMES[:2]
    row = tampered.rows(second)[1]
    tampered.remove(second, *range(last(tampered, second) + 1))
    tampered.change(first, 1, content=row["content"], hash=row["hash"], previous=row["previous"])
    error = tampered.found_by()[first]
    assert (error.station, error.number, error.damage) == (first, 1, Damage.FORGED)


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_ledger_in_place_of_which_an_older_one_was_put_is_found_by_who_worked_since(
    back_end, tmp_path, request
):
    site = made_site(back_end, tmp_path, request)
    work_a_day(site.address, tmp_path)
    ledger = Ledger.open(site.address)
    with tampering(ledger, tmp_path) as before:
        old = {name: before.rows(name) for name in NAMES}
    with at_work(site.address, tmp_path, NAMES[1]) as (later, writer):
        reserve(later, writer, mac=b"later!")
    with tampering(ledger, tmp_path) as tampered:
        for name in NAMES:
            tampered.remove(name, *range(len(old[name]), last(tampered, name) + 1))
        assert {name: tampered.rows(name) for name in NAMES} == old
        found = tampered.found_by()
    assert found[NAMES[1]].damage is Damage.TRUNCATED
    assert found[NAMES[1]].number == len(old[NAMES[1]])
    ledger.close()


def test_a_restored_ledger_keeps_every_signature_and_goes_on(worked, tmp_path):
    ledger, _ = worked
    backup, path = tmp_path / "backup", tmp_path / "restored.sqlite3"
    write_backup(ledger.database.address, backup, now=NOW)
    restore_ledger(backup, path, replace(writer_of(NAMES[0]), now=lambda: NOW), opening="opening-2",
                   reason="test")  # fmt: skip
    restored = Ledger.open(path)
    (tmp_path / "folders" / NAMES[0]).mkdir(parents=True)
    save_witness(tmp_path / "folders" / NAMES[0], restored, station=NAMES[0])
    for name in NAMES:
        with at_work(path, tmp_path / "folders", name):
            pass
    with tampering(restored, tmp_path / "folders") as tampered:
        assert tampered.found_by() == {}
        heads = newest_heads(tampered.connection, NAMES[0])
        assert certificates().verify(heads.signed, heads.certificate).epoch == 2
    restored.close()


@pytest.mark.parametrize(
    "change",
    ["product = 'other'", "created_at = '2026-01-01T00:00:00.000000Z'", "uuid = 'uuid-9'"],
)
def test_another_identity_is_not_what_stations_signed_for(change, tmp_path, request):
    site = made_site("sqlite", tmp_path, request)
    work_a_day(site.address, tmp_path)
    site.edit(f"UPDATE ledger_identity SET {change}")  # noqa: S608
    ledger = Ledger.open(site.address)
    with pytest.raises(LedgerDamageError) as refusal, tampering(ledger, tmp_path) as tampered:
        tampered.verify(None)
    assert refusal.value.damage is Damage.FORGED
    ledger.close()


def test_the_index_answers_what_was_signed_last(worked):
    ledger, _ = worked
    with ledger.database.reading() as connection:
        count = connection.execute(select(func.count()).select_from(events)).scalar_one()
        if connection.dialect.name == "sqlite":
            plan = connection.exec_driver_sql(
                "EXPLAIN QUERY PLAN SELECT content FROM events WHERE step = 'heads' AND "
                "events.station = 'station-1' ORDER BY events.number DESC LIMIT 1"
            ).all()
            assert "ix_events_heads" in str(plan)
        assert newest_heads(connection, NAMES[0]).number < count
        assert newest_heads(connection, "nobody") is None
