"""A ledger on a server: what a file cannot do to us, a network and an administrator can."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import psycopg
import pytest

from provisioning.errors import LedgerError
from provisioning.ledger import Ledger
from provisioning.ledger_address import PostgresAddress, parse_ledger_address
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_postgres import _LOCK
from provisioning.ledger_queries import list_units
from tests.postgres_server import PostgresServer
from tests.provisioning.cutting_proxy import CuttingProxy
from tests.provisioning.ledger_sites import START, a_writer, create, empty_site, made_site, reserve

ROOT = Path("/factory")


@pytest.fixture
def site(request, tmp_path):
    return made_site("postgres", tmp_path, request)


@pytest.fixture
def ledger(site):
    ledger = Ledger.open(site.address)
    yield ledger
    ledger.close()


@pytest.fixture
def proxied(site, request):
    """A function that opens the ledger through a proxy."""
    opened = []

    def through(*, passes_commit):
        proxy = CuttingProxy(site.address.port, passes_commit=passes_commit)
        url = site.server.url(site.address.database, port=proxy.port)
        ledger = Ledger.open(parse_ledger_address(url, root=ROOT))
        opened.append((proxy, ledger))
        return proxy, ledger

    yield through
    for proxy, ledger in opened:
        ledger.close()
        proxy.close()


def test_a_commit_whose_answer_is_lost_is_found_and_counts(proxied, ledger):
    proxy, through = proxied(passes_commit=True)
    proxy.is_armed = True
    reservation = reserve(through, a_writer())
    assert not proxy.is_armed
    assert [unit.serial for unit in list_units(ledger.database)] == [reservation.serial]
    ledger.verify_chains()


def test_a_commit_that_never_arrived_is_told_and_left_nothing(site, proxied, ledger):
    proxy, through = proxied(passes_commit=False)
    before = site.dump()
    proxy.is_armed = True
    with pytest.raises(LedgerError, match="nothing was committed") as refusal:
        reserve(through, a_writer())
    assert "start again" in refusal.value.hint
    assert site.dump() == before
    assert reserve(through, a_writer()).is_new
    ledger.verify_chains()


def test_a_server_that_is_gone_in_the_middle_of_a_commit_leaves_a_question(proxied, monkeypatch):
    monkeypatch.setattr("provisioning.ledger_database._LOOK_AGAIN_S", (0.0, 0.0))
    proxy, through = proxied(passes_commit=False)
    reserve(through, a_writer())
    proxy.is_armed = True
    proxy.target = ("127.0.0.1", 1)  # nobody answers there
    with pytest.raises(LedgerError, match="in the middle of a commit") as refusal:
        through.append(a_writer(), step="x", phase=Phase.NOTE, data={})
    assert "not known" in refusal.value.got


def test_a_server_that_stops_is_our_error_and_work_goes_on_when_it_is_back(tmp_path):
    server = PostgresServer(parent=Path("/dev/shm") if Path("/dev/shm").is_dir() else None)  # noqa: S108
    try:
        address = parse_ledger_address(server.url(server.create_database()), root=tmp_path)
        create(address)
        ledger, writer = Ledger.open(address), a_writer()
        first = reserve(ledger, writer)
        server.stop(at_once=True)
        with pytest.raises(LedgerError, match="cannot be reached") as refusal:
            reserve(ledger, writer, mac=bytes(6))
        assert "start again" in refusal.value.hint
        with pytest.raises(LedgerError, match="cannot be reached"):
            Ledger.open(address)
        server.start()
        assert reserve(ledger, writer).serial == first.serial
        assert len(list_units(ledger.database)) == 1
        ledger.verify_chains()
        ledger.close()
    finally:
        server.close()


def test_a_server_that_forgets_what_it_confirmed_is_refused(tmp_path):
    parent = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108
    server = PostgresServer(settings={"fsync": "off"}, parent=parent)
    try:
        address = parse_ledger_address(server.url(server.create_database()), root=tmp_path)
        with pytest.raises(LedgerError, match="power cut") as refusal:
            create(address)
        assert "fsync = on" in refusal.value.hint
    finally:
        server.close()


def test_a_role_cannot_make_commits_less_durable(site):
    """An administrator's ALTER ROLE does not reach the station's own connections."""
    site.edit(f'ALTER DATABASE "{site.address.database}" SET synchronous_commit = off')
    ledger = Ledger.open(site.address)
    with ledger.database.reading() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    ledger.close()


def test_a_database_of_another_encoding_is_refused(postgres, tmp_path):
    options = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    name = postgres.create_database(options=options)
    address = parse_ledger_address(postgres.url(name), root=tmp_path)
    with pytest.raises(LedgerError, match="another encoding") as refusal:
        create(address)
    assert "UTF8" in refusal.value.hint
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert postgres.execute(tables, database=name) == [(0,)]


def test_a_database_that_only_reads_is_a_clear_stop(site, ledger):
    reserve(ledger, a_writer())
    before = site.dump()
    ledger.close()
    site.edit(f'ALTER DATABASE "{site.address.database}" SET default_transaction_read_only = on')
    with pytest.raises(LedgerError, match="can only be read") as refusal:
        reserve(ledger, a_writer(), mac=bytes(6))
    assert "right to write" in refusal.value.hint
    assert len(list_units(ledger.database)) == 1
    assert site.dump() == before


def test_a_database_in_use_for_something_else_is_left_alone(postgres, tmp_path):
    name = postgres.create_database()
    postgres.execute("CREATE TABLE wages (amount int)", database=name)
    with pytest.raises(LedgerError, match="in use for something else") as refusal:
        create(parse_ledger_address(postgres.url(name), root=tmp_path))
    assert refusal.value.got == "table wages"
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert postgres.execute(tables, database=name) == [("wages",)]


def test_no_database_no_user_and_no_rights_are_three_different_errors(site, postgres):
    def opened(**changes):
        parts = {"user": "postgres", "database": site.address.database, **changes}
        url = postgres.url(parts["database"], user=parts["user"])
        return Ledger.open(parse_ledger_address(url, root=ROOT))

    with pytest.raises(LedgerError, match="no such database") as refusal:
        opened(database="nowhere")
    assert "createdb" in refusal.value.hint
    with pytest.raises(LedgerError, match="refuses this user"):
        opened(user="nobody-here")
    postgres.execute("CREATE ROLE visitor LOGIN")
    with pytest.raises(LedgerError, match="may not use the ledger's tables"):
        opened(user="visitor")


def test_a_hanging_writer_is_cut_off_and_others_say_who_waits(site, monkeypatch):
    monkeypatch.setattr("provisioning.postgres_engine.LOCK_TIMEOUT_S", 1)
    ledger = Ledger.open(site.address)
    with psycopg.connect(site.server.url(site.address.database)) as hanging:
        hanging.execute(_LOCK.encode())
        with pytest.raises(LedgerError, match="another writer holds the ledger"):
            reserve(ledger, a_writer())
        hanging.rollback()
    assert reserve(ledger, a_writer()).is_new
    ledger.close()


def test_two_who_create_at_once_make_one_ledger(postgres, tmp_path, request):
    site = empty_site("postgres", tmp_path, request)
    outcomes, start = [], threading.Barrier(2)

    def make(uuid):
        start.wait()
        try:
            create_ledger(site.address, product="flare", ledger_uuid=uuid, created_at=START)
            outcomes.append(uuid)
        except LedgerError as error:
            outcomes.append(error.what)

    threads = [threading.Thread(target=make, args=(f"uuid-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "there is a ledger already" in outcomes
    (made,) = [outcome for outcome in outcomes if outcome.startswith("uuid-")]
    ledger = Ledger.open(site.address)
    assert ledger.identity.uuid == made
    ledger.close()


def test_a_station_notices_that_its_ledger_became_another_one(site, ledger):
    reserve(ledger, a_writer())
    site.edit("UPDATE ledger_identity SET epoch = 2")
    before = site.dump()
    with pytest.raises(LedgerError, match="was restored while this station was at work"):
        reserve(ledger, a_writer(), mac=bytes(6))
    assert site.dump() == before


def test_the_password_is_taken_from_the_environment_and_shown_nowhere(tmp_path, monkeypatch):
    parent = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108
    server = PostgresServer(parent=parent)
    try:
        server.execute("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'correct-horse'")
        hba = server.data / "pg_hba.conf"
        hba.write_text(
            "host all keeper 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
        )
        server.execute("SELECT pg_reload_conf()")
        url = server.url(server.create_database(), user="keeper")
        address = parse_ledger_address(url, root=tmp_path)
        monkeypatch.setenv("PGPASSWORD", "battery-staple")
        with pytest.raises(LedgerError, match="refuses this user") as refusal:
            create(address)
        assert "battery" not in repr(vars(refusal.value))
        monkeypatch.delenv("PGPASSWORD")
        pass_file = tmp_path / "pgpass"
        pass_file.write_text("127.0.0.1:*:*:keeper:correct-horse\n")
        pass_file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(pass_file))
        create(address)
        ledger = Ledger.open(address)
        assert "correct" not in f"{ledger.database.address} {ledger.database.address!r}"
        ledger.close()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("station/ledger.sqlite3", Path("/factory/station/ledger.sqlite3")),
        ("/elsewhere/l", Path("/elsewhere/l")),
        (
            "postgresql://ampforge@db.example:5433/flare",
            PostgresAddress(host="db.example", port=5433, database="flare", user="ampforge"),
        ),
        (
            "postgres://db/flare%20line?sslmode=verify-full",
            PostgresAddress(
                host="db", port=5432, database="flare line", user=None,
                options=(("sslmode", "verify-full"),),
            ),
        ),
        (
            "postgresql:///flare?host=/run/postgresql",
            PostgresAddress(
                host=None, port=5432, database="flare", user=None,
                options=(("host", "/run/postgresql"),),
            ),
        ),
        (
            "postgresql://u@[::1]/flare",
            PostgresAddress(host="::1", port=5432, database="flare", user="u"),
        ),
    ],
)  # fmt: skip
def test_an_address_is_a_path_or_a_url(text, expected):
    address = parse_ledger_address(text, root=ROOT)
    assert address == expected
    if isinstance(address, PostgresAddress):
        assert parse_ledger_address(str(address), root=ROOT) == address


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:secret@h/d", "postgresql://h/d?password=secret",
        "postgresql://u:secret@h:99999/d", "mysql://u:secret@h/d", "postgresql://u:secret@h:x/d",
        "postgresql://h", "postgresql://h/", "postgresql://h/a/b", "postgresql://h/d?options=secret",
        "postgresql://h/d?sslmode=a&sslmode=b", "postgresql://h/d#secret", "", "a\0b",
        "postgresql://h/d?secret", "postgresql://u:secret@[h/d",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_and_keeps_its_secret(text):
    with pytest.raises(LedgerError) as refusal:
        parse_ledger_address(text, root=ROOT)
    assert refusal.value.where == "[station] ledger"
    assert "secret" not in repr(vars(refusal.value))


def test_without_the_driver_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("provisioning.postgres_engine.find_spec", lambda _name: None)
    with pytest.raises(LedgerError, match="needs the driver") as refusal:
        Ledger.open(parse_ledger_address("postgresql://h/d", root=ROOT))
    assert "ampforge[postgres]" in refusal.value.hint
    assert os.environ.get("PGPASSWORD") is None
