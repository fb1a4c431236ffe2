"""A station notices when its ledger went back, and a second station joins the first."""

from __future__ import annotations

import datetime as dt
import shutil

import pytest

import provisioning.station_joining
from provisioning.errors import LedgerError, StationError
from provisioning.ledger import Ledger
from provisioning.ledger_address import find_ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_restore import restore_for_station
from provisioning.ledger_witness import (
    WITNESS_NAME,
    load_witness,
    require_witnessed,
    save_witness,
)
from provisioning.serial_formats import parse_format
from provisioning.station_founding import create_station
from provisioning.station_joining import join_station
from provisioning.station_keys import load_station_keys
from signing.errors import SigningError
from tests.provisioning.ledger_sites import START, a_writer, create, empty_site, reserve

LATER = START + dt.timedelta(days=3)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "station").mkdir()
    path = tmp_path / "ledger.sqlite3"
    create(path)
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "station"


def work(path, folder, *, mac, start=START):
    """Give one number, as a station does that opens and closes its ledger."""
    ledger = Ledger.open(path)
    try:
        require_witnessed(folder, ledger, station="station-1")
        serial = reserve(ledger, a_writer(start=start), mac=mac).serial
        save_witness(folder, ledger, station="station-1")
    finally:
        ledger.close()
    return serial


def test_a_ledger_that_was_copied_back_is_refused_before_it_gives_a_number_again(path, folder):
    work(path, folder, mac=bytes(6))
    shutil.copy(path, path.with_name("yesterday"))
    given = work(path, folder, mac=bytes(5) + b"\1")
    path.unlink()
    shutil.copy(path.with_name("yesterday"), path)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="has forgotten events of this station") as refusal:
        work(path, folder, mac=bytes(5) + b"\2")
    assert "ledger restore" in refusal.value.hint
    assert path.read_bytes() == before
    assert given


def test_a_restored_ledger_is_accepted_and_its_predecessor_is_not(path, folder):
    work(path, folder, mac=bytes(6))
    write_backup(path, path.with_name("backup"), now=START)
    work(path, folder, mac=bytes(5) + b"\1")
    path.rename(path.with_name("lost"))
    restored = restore_for_station(
        path.with_name("backup"), path, a_writer(start=LATER), folder=folder, opening="o-2",
        reason="test",
    )  # fmt: skip
    assert (restored.identity.epoch, restored.lost_event_count) == (2, 1)
    work(path, folder, mac=bytes(5) + b"\2", start=LATER)
    with pytest.raises(LedgerError, match="older than one that this station worked with"):
        work(path.with_name("lost"), folder, mac=bytes(5) + b"\3")


def test_two_ledgers_of_one_epoch_are_told_apart(path, folder):
    """The same backup restored on two machines: only one of them is the factory's."""
    write_backup(path, path.with_name("backup"), now=START)
    for name, where in (("first", folder), ("second", folder.with_name("elsewhere"))):
        restore_for_station(
            path.with_name("backup"), path.with_name(name), a_writer(start=LATER), folder=where,
            opening=f"opening-{name}", reason="test",
        )  # fmt: skip
    with pytest.raises(LedgerError, match="older than one") as refusal:
        work(path.with_name("second"), folder, mac=bytes(6), start=LATER)
    assert "--first-epoch 3" in refusal.value.hint
    again = restore_for_station(
        path.with_name("backup"), path.with_name("third"), a_writer(start=LATER), folder=folder,
        opening="opening-3", reason="test",
    )  # fmt: skip
    assert again.identity.epoch == 3


def test_another_ledger_and_an_unreadable_memory_are_refused(path, folder):
    work(path, folder, mac=bytes(6))
    witness = folder / WITNESS_NAME
    content = witness.read_text()
    witness.write_text(content.replace("uuid-1", "uuid-2"))
    with pytest.raises(LedgerError, match="another ledger than the station worked with"):
        work(path, folder, mac=bytes(6))
    for damaged in ("", "{}", content.replace('"epoch": 1', '"epoch": "1"'), content + "x"):
        witness.write_text(damaged)
        with pytest.raises(StationError, match="cannot be read"):
            work(path, folder, mac=bytes(6))
        assert witness.read_text() == damaged


def test_a_ledger_in_the_folder_beside_another_one_is_refused(path, folder):
    assert find_ledger(folder, None, root=folder) == folder / "ledger.sqlite3"
    assert find_ledger(folder, "../ledger.sqlite3", root=folder) == folder / "../ledger.sqlite3"
    shutil.copy(path, folder / "ledger.sqlite3")
    with pytest.raises(LedgerError, match="two ledgers"):
        find_ledger(folder, "postgresql://h/d", root=folder)
    own = find_ledger(folder, "ledger.sqlite3", root=folder)
    assert own == folder / "ledger.sqlite3"


def make_first(folder, address, *, passphrase=None):
    return create_station(
        folder, product="flare", station_name="station-1", ledger_uuid="uuid-1", now=START,
        passphrase=passphrase, is_test_key=True, ledger=address,
    )  # fmt: skip


def join(folder, factory, address, *, name="station-2", passphrase=None):
    return join_station(
        folder, factory, address, product="flare", station_name=name, now=START,
        passphrase=None if passphrase is None else lambda: passphrase,
    )  # fmt: skip


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_second_station_has_the_same_ca_and_ledger_and_a_key_of_its_own(
    passphrase, tmp_path, request
):
    site = empty_site("postgres", tmp_path, request)
    first, second = tmp_path / "one", tmp_path / "two"
    make_first(first, site.address, passphrase=passphrase)
    assert not (first / "ledger.sqlite3").exists()
    join(second, first, site.address, passphrase=passphrase)
    keys = [
        load_station_keys(
            folder, station_name=name, now=START,
            passphrase=None if passphrase is None else lambda: passphrase,
        )
        for folder, name in ((first, "station-1"), (second, "station-2"))
    ]  # fmt: skip
    assert keys[0].ca_der == keys[1].ca_der
    assert keys[0].station_signer.public_key != keys[1].station_signer.public_key


def test_a_station_that_cannot_join_leaves_no_folder(path, tmp_path):
    first = tmp_path / "one"
    make_first(first, tmp_path / "shared.sqlite3", passphrase=b"correct horse")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StationError, match="station is not set up"):
        join(tmp_path / "two", tmp_path / "nowhere", tmp_path / "shared.sqlite3")
    with pytest.raises(LedgerError, match="there is no ledger"):
        join(tmp_path / "two", first, tmp_path / "nowhere.sqlite3")
    with pytest.raises(SigningError):
        join(tmp_path / "two", first, tmp_path / "shared.sqlite3", passphrase=b"battery")
    ledger = Ledger.open(path)
    reserve(ledger, a_writer("station-2"))
    ledger.close()
    with pytest.raises(StationError, match="another station has this name"):
        join(tmp_path / "two", first, path, passphrase=b"correct horse")
    assert sorted(tmp_path.iterdir()) == before


def test_a_station_whose_ledger_cannot_be_made_leaves_no_folder(path, tmp_path):
    with pytest.raises(LedgerError, match="there is a ledger already"):
        make_first(tmp_path / "one", path)
    assert not (tmp_path / "one").exists()


def test_a_lone_station_without_its_memory_is_refused_whatever_its_ledger_says(path, folder):
    """A ledger that was copied back looks whole; only the memory would have known."""
    given = [work(path, folder, mac=bytes([number]) * 6) for number in range(2)]
    shutil.copy(path, path.with_name("yesterday"))
    lost = work(path, folder, mac=b"lost!!")
    (folder / WITNESS_NAME).unlink()
    for kept in (None, "yesterday"):
        if kept is not None:
            shutil.copy(path.with_name(kept), path)
        before = path.read_bytes()
        with pytest.raises(StationError, match="remembers of its ledger is gone") as caught:
            work(path, folder, mac=b"next!!")
        assert "ampforge ledger restore" in caught.value.hint
        assert path.read_bytes() == before
    # The way out needs no memory: a new epoch gives no number of the old one.
    write_backup(path, path.with_name("backup"), now=START)
    path.unlink()
    restore_for_station(
        path.with_name("backup"), path, a_writer(start=LATER), folder=folder,
        opening="opening-2", reason="the memory was lost",
    )  # fmt: skip
    found = work(path, folder, mac=b"next!!", start=LATER)
    assert found not in {lost, *given}


def test_a_station_that_never_wrote_needs_no_memory(path, folder):
    work(path, folder, mac=bytes(6))
    other = folder.with_name("station-2")
    other.mkdir()
    ledger = Ledger.open(path)
    require_witnessed(other, ledger, station="station-2")
    with pytest.raises(StationError, match="is gone"):
        require_witnessed(other, ledger, station="station-1")
    ledger.close()


def test_a_station_that_is_killed_while_it_joins_has_its_memory_before_its_first_event(
    tmp_path, monkeypatch
):
    create_station(
        tmp_path / "station-1", product="flare", station_name="station-1", ledger_uuid="uuid-1",
        now=START, passphrase=None, is_test_key=True,
    )  # fmt: skip
    folder, seen = tmp_path / "station-2", []
    meet = provisioning.station_joining.meet

    def look_and_meet(*arguments, **options):
        seen.append(load_witness(folder))
        return meet(*arguments, **options)

    monkeypatch.setattr(provisioning.station_joining, "meet", look_and_meet)
    join_station(
        folder, tmp_path / "station-1", tmp_path / "station-1" / "ledger.sqlite3",
        product="flare", station_name="station-2", now=START, passphrase=None,
    )  # fmt: skip
    assert [(one.count, one.is_closed) for one in seen] == [(0, False)]
    assert load_witness(folder).count == 1


def test_the_format_that_station_init_wrote_is_no_word_of_the_station(tmp_path):
    create_station(
        tmp_path / "station", product="flare", station_name="station-1", ledger_uuid="uuid-1",
        now=START, passphrase=None, is_test_key=True, serial_format=parse_format("PPPMMMYYWWSSSSC"),
    )  # fmt: skip
    ledger = Ledger.open(tmp_path / "station" / "ledger.sqlite3")
    require_witnessed(tmp_path / "station", ledger, station="station-1")
    ledger.close()
