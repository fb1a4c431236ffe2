"""What the ledger gives back, to whom, and what an audit finds of it; on both back ends."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy import delete, select, update

from provisioning.board_evidence import (
    Loader,
    evidence_digest,
    parse_evidence,
    serialize_evidence,
    verify_evidence,
)
from provisioning.classification import BoardClass, BoardIdentity, Classification, RecordCondition
from provisioning.errors import IdentityError, LedgerError, SupervisionError
from provisioning.lease_acts import declare_lost
from provisioning.ledger import Ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_leases import list_leases
from provisioning.ledger_quarantine import find_quarantine, open_quarantine
from provisioning.ledger_queries import list_serials, list_units
from provisioning.ledger_restore import restore_ledger
from provisioning.ledger_schema import voided_ranges
from provisioning.ledger_supervision import carry_out
from provisioning.ledger_units import find_unit
from provisioning.ledger_values import SerialState, UnitState
from provisioning.ledger_verification import verify_state
from provisioning.serial_numbers import parse_serial
from provisioning.supervision import Act, SupervisedAct, sign_act
from signing.errors import SigningError
from tests.conftest import IS_SOAK
from tests.provisioning.lease_bench import FactoryTemplate, make_offline
from tests.provisioning.lease_bench import mac_of as leased_mac
from tests.provisioning.ledger_sites import (
    BACK_ENDS,
    START,
    Site,
    a_writer,
    empty_site,
    made_site,
    reserve,
)
from tests.provisioning.made_evidence import PLAN, adopt_in, make_evidence, prove
from tests.provisioning.tampered_ledger import certificates, tampering, work
from tests.signing.fixed_keys import fixed_signer

LATER = START + dt.timedelta(days=2)


def mac_of(number):
    return bytes([2, 0, 0, 0, 0, number])


def meet(ledger, writer, serial, mac, board_class=BoardClass.FOREIGN):
    """Have a fixture meet a board that the ledger does not know."""
    return open_quarantine(
        ledger, writer, mac=mac,
        classification=Classification(
            board_class=board_class, reason="known to nobody", is_quarantined=True
        ),
        identity=BoardIdentity(condition=RecordCondition.PRESENT, serial=serial, mac=mac),
    )  # fmt: skip


class Lost:
    """A ledger that was restored, and the numbers that were given in the lost time."""

    def __init__(self, back_end, folder, request):
        site = made_site(back_end, folder / "lost", request)
        old, writer = Ledger.open(site.address), a_writer()
        self.known = reserve(old, writer, mac=mac_of(100)).serial
        backup = folder / "backup"
        write_backup(site.address, backup, now=START)
        given = [(mac_of(n), reserve(old, writer, mac=mac_of(n)).serial) for n in range(1, 6)]
        strange = reserve(old, writer, mac=mac_of(6), model="NEW").serial
        old.close()
        self.given = dict([*given, (mac_of(6), strange)])
        self.site = empty_site(back_end, folder / "found", request)
        restore_ledger(
            backup, self.site.address, a_writer(start=LATER), opening="opening-2", reason="died"
        )
        self.ledger = Ledger.open(self.site.address)
        self.writer = a_writer("station-2", start=LATER + dt.timedelta(hours=1))

    def evidence(self, number):
        mac = mac_of(number)
        return make_evidence(self.given[mac], mac)

    def adopt(self, number, **options):
        mac = mac_of(number)
        if find_quarantine(self.ledger, mac) is None:
            meet(self.ledger, self.writer, self.given[mac], mac)
        return adopt_in(self.ledger, self.writer, self.evidence(number), **options)

    def ranges(self):
        with self.ledger.database.reading() as connection:
            rows = connection.execute(
                select(
                    voided_ranges.c.model, voided_ranges.c.first_sequence,
                    voided_ranges.c.last_sequence,
                ).order_by(voided_ranges.c.model, voided_ranges.c.week, voided_ranges.c[
                    "first_sequence"
                ])
            )  # fmt: skip
            return [tuple(row) for row in rows]

    def dump(self):
        return Site(self.site.address, self.site.server).dump()


@pytest.fixture(params=BACK_ENDS)
def lost(request, tmp_path):
    made = Lost(request.param, tmp_path, request)
    yield made
    made.ledger.close()


@pytest.fixture(params=BACK_ENDS if IS_SOAK else BACK_ENDS[:1])
def small(request, tmp_path):
    made = Lost(request.param, tmp_path, request)
    yield made
    made.ledger.close()


def test_boards_of_the_lost_time_get_exactly_their_numbers_back(lost):
    last = 32**4 - 1
    assert lost.ranges() == [("FLR", 2, last)]
    lost.adopt(3)
    assert lost.ranges() == [("FLR", 2, 3), ("FLR", 5, last)]
    for number in (1, 2, 5, 4):
        lost.adopt(number)
        lost.ledger.verify_chains()
    assert lost.ranges() == [("FLR", 7, last)]
    lost.adopt(6)  # of a model that the backup does not know
    assert lost.ranges() == [("FLR", 7, last), ("NEW", 2, last)]
    lost.ledger.verify_chains()
    units = {unit.mac: unit for unit in list_units(lost.ledger.database)}
    assert {mac: units[mac].serial for mac in lost.given} == lost.given
    assert {units[mac].state for mac in lost.given} == {UnitState.REWORK}
    states = {one.serial: one.state for one in list_serials(lost.ledger.database)}
    assert {states[serial] for serial in lost.given.values()} == {SerialState.ASSIGNED}
    # Who goes on with them, and who comes new, gets no number twice.
    work(lost.ledger, replace(lost.writer, run="run"), mac=mac_of(3), state=UnitState.PASS)
    assert find_unit(lost.ledger.database, mac=mac_of(3)).serial == lost.given[mac_of(3)]
    for model in ("FLR", "NEW"):
        mac = mac_of(200 + len(model) + (model == "NEW"))
        new = reserve(lost.ledger, lost.writer, mac=mac, model=model).serial
        assert parse_serial(new).sequence == 32**4
    lost.ledger.verify_chains()


def test_the_record_of_an_adopted_unit_says_what_it_proved_and_what_is_vouched_for(small):
    chained = small.adopt(1)
    told = [(c.event.step, c.event.phase.value) for c in small.ledger.events(serial=small.given[mac_of(1)])]  # fmt: skip  # noqa: E501
    assert told == [
        ("reserve", "CONFIRM"), ("nvs", "INTENT"), ("nvs", "CONFIRM"), ("key-storage", "CONFIRM"),
        ("identity", "CONFIRM"), ("record", "INTENT"), ("record", "CONFIRM"),
        ("efuses", "CONFIRM"), ("lock", "CONFIRM"), ("supervise", "CONFIRM"),
    ]  # fmt: skip
    by_step = {c.event.step: c.event.data for c in small.ledger.events(job=chained.event.job)}
    assert {by_step[step]["proof"] for step in ("nvs", "key-storage", "efuses", "lock")} == {
        "order"
    }
    assert by_step["efuses"]["plan"] == PLAN.hex()
    content = bytes.fromhex(by_step["supervise"]["evidence"])
    assert verify_evidence(content, now=LATER, where="record").mac == mac_of(1)


def give_to_another(lost):
    """What a copy of a ledger may have done: the number is a live one of another chip."""
    mac = mac_of(1)
    make = make_evidence(lost.known, mac)
    meet(lost.ledger, lost.writer, lost.known, mac)
    return make


def take_the_chip(lost):
    meet(lost.ledger, lost.writer, "X", mac_of(100))
    return make_evidence(lost.given[mac_of(1)], mac_of(100))


def never_given(lost):
    serial = str(replace(parse_serial(lost.known), sequence=32**4 + 5))
    meet(lost.ledger, lost.writer, serial, mac_of(1))
    return make_evidence(serial, mac_of(1))


def of_the_future(lost):
    serial = str(replace(parse_serial(lost.known), sequence=3 * 32**4))
    meet(lost.ledger, lost.writer, serial, mac_of(1))
    return make_evidence(serial, mac_of(1))


def at_large(lost):
    return lost.evidence(1)


def one_of_two(lost):
    """Two chips with this MAC lay in two slots: nobody knows yet which is the unit."""
    meet(lost.ledger, lost.writer, lost.given[mac_of(1)], mac_of(1), BoardClass.CLONE)
    return lost.evidence(1)


REFUSED = {
    "number of another chip": (give_to_another, "belongs to 02:00:00:00:00:64 now"),
    "chip of another number": (take_the_chip, "the chip of unit"),
    "number of this epoch": (never_given, "of epoch 2, which this ledger"),
    "number of a later epoch": (of_the_future, "of epoch 4, which this ledger"),
    "clone": (one_of_two, "for another reason than a lost number"),
    "board not in quarantine": (at_large, "not in quarantine"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_number_is_given_back_only_when_nobody_has_it_and_nobody_can_get_it(small, name):
    make, telling = REFUSED[name]
    evidence = make(small)
    before = small.dump()
    with pytest.raises(SupervisionError) as caught:
        adopt_in(small.ledger, small.writer, evidence)
    assert telling in str(caught.value)
    assert small.dump() == before


def test_an_order_counts_once_and_for_one_board_and_one_proof(small):
    before = small.dump()
    meet(small.ledger, small.writer, small.given[mac_of(2)], mac_of(2))
    changes = [
        {"serial": small.given[mac_of(2)]},
        {"mac": mac_of(2)},
        {"evidence": bytes(32)},
        {"act": Act.RELEASE, "serial": "", "evidence": b""},
    ]
    for change in changes:
        with pytest.raises(SupervisionError, match="not about this board and what it proved"):
            small.adopt(1, signed_for=lambda order, change=change: replace(order, **change))
    with pytest.raises(SupervisionError, match="something that has changed since"):
        small.adopt(1, signed_for=lambda order: replace(order, answers=bytes(32)))
    assert [unit.serial for unit in list_units(small.ledger.database)] == [small.known]
    assert before != small.dump(), "the two boards are in quarantine"
    kept = []
    small.adopt(1, signed_for=lambda order: kept.append(order) or order)
    signed = sign_act(kept[0], [fixed_signer("supervisor")])
    with pytest.raises(SupervisionError, match="adopted by what it proves itself"):
        carry_out(small.ledger, small.writer, kept[0], signed)
    with pytest.raises(SupervisionError, match="not in quarantine"):
        adopt_in(small.ledger, small.writer, small.evidence(1))


def test_a_clock_that_went_back_adopts_nothing_that_an_audit_would_not_believe(small):
    meet(small.ledger, small.writer, small.given[mac_of(1)], mac_of(1))
    before, past = small.dump(), a_writer("station-2", start=START - dt.timedelta(days=400))
    with pytest.raises(SupervisionError, match="does not hold at the time of this event"):
        adopt_in(small.ledger, past, small.evidence(1))
    assert small.dump() == before


@pytest.fixture(scope="module", params=BACK_ENDS)
def adopted(request, tmp_path_factory):
    made = Lost(request.param, tmp_path_factory.mktemp("adopted"), request)
    made.adopt(3)
    yield made
    made.ledger.close()


def change_proof(tampered, adopted):
    content = bytearray.fromhex(tampered.contents("station-2")[-1].data["evidence"])
    content[40] ^= 1
    rewrite(tampered, evidence=content.hex())


def show_another_proof(tampered, adopted, *, number=4, ca="tampered ca"):
    """With another order, that a forger signed: who was a supervisor that day is not known."""
    (row,) = [one for one in tampered.rows("station-2") if one["step"] == "quarantine"]
    mac = mac_of(number)
    proof = serialize_evidence(make_evidence(adopted.given[mac], mac, ca))
    order = SupervisedAct(
        ledger_uuid=adopted.ledger.identity.uuid, act=Act.ADOPT, mac=mac_of(3), new_mac=b"",
        answers=bytes(row["hash"]), reason="lost with the ledger", at=LATER,
        serial=adopted.given[mac_of(3)], evidence=evidence_digest(proof),
    )  # fmt: skip
    signed = sign_act(order, [fixed_signer("forger")])
    rewrite(tampered, evidence=proof.hex(), order=signed.hex())


def show_another_factory(tampered, adopted):
    show_another_proof(tampered, adopted, number=3, ca="another ca")


def forget_the_void(tampered, adopted):
    tampered.connection.execute(delete(voided_ranges))


def void_it_again(tampered, adopted):
    first = voided_ranges.c.first_sequence == 2
    tampered.connection.execute(update(voided_ranges).where(first).values(last_sequence=4))


def vouch_for(step, **data):
    """Change what stands for a lost step; the order and its evidence stay as they were signed."""

    def forge(tampered, adopted):
        contents = tampered.contents("station-2")
        (place,) = [
            place for place, event in enumerate(contents)
            if (event.step, event.phase.value) == (step, "CONFIRM")
        ]  # fmt: skip
        event = contents[place]
        contents[place] = replace(event, data={**event.data, **data})
        tampered.replace_chain("station-2", contents)

    return forge


def leave_out_the_lock(tampered, adopted):
    contents = [event for event in tampered.contents("station-2") if event.step != "lock"]
    renumbered = [replace(event, number=number) for number, event in enumerate(contents)]
    tampered.replace_chain("station-2", renumbered)


def rewrite(tampered, **changes):
    contents = tampered.contents("station-2")
    contents[-1] = replace(contents[-1], data={**contents[-1].data, **changes})
    tampered.replace_chain("station-2", contents)


FORGERIES = {
    "changed": (change_proof, "evidence of the order"),
    "another board": (show_another_proof, "it is of AMPFLR"),
    "another factory": (show_another_factory, "it is of another factory"),
    "another eFuse plan": (vouch_for("efuses", plan="77" * 32), "steps of the adoption"),
    "another key block": (vouch_for("key-storage", block=5), "steps of the adoption"),
    "a read-back": (vouch_for("nvs", proof="read back"), "steps of the adoption"),
    "another record": (vouch_for("record", stored="00"), "steps of the adoption"),
    "another certificate": (vouch_for("identity", certificate="00"), "steps of the adoption"),
    "no lock": (leave_out_the_lock, "steps of the adoption"),
    "no void": (forget_the_void, "voided_ranges"),
    "void again": (void_it_again, "voided_ranges"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_an_audit_finds_an_adoption_that_does_not_follow_from_its_proof(adopted, name, tmp_path):
    forge, telling = FORGERIES[name]
    with tampering(adopted.ledger, tmp_path) as tampered:

        def audit():
            verify_state(
                tampered.connection, adopted.ledger.identity, certificates=certificates(),
                witness=None, where="test",
            )  # fmt: skip

        audit()
        forge(tampered, adopted)
        with pytest.raises(LedgerError) as caught:
            audit()
    assert telling in str(caught.value)


def changed(**values):
    return lambda evidence: replace(evidence, **values)


BAD_EVIDENCE = {
    "another nonce": (changed(nonce=bytes(32)), IdentityError),
    "another application": (changed(app_sha256=bytes(32)), IdentityError),
    "no certificate": (changed(certificate_der=b""), SigningError),
    "another factory": (
        changed(ca_der=make_evidence("X", mac_of(1), "other").ca_der),
        SigningError,
    ),
    "no record": (changed(record=b""), SupervisionError),
    "a plan for an open board": (changed(loader=Loader.OPEN), SupervisionError),
    "no block": (changed(key_block=6), SupervisionError),
    "half a digest": (changed(nvs_plan=b"x"), SupervisionError),
}


@pytest.mark.parametrize("name", BAD_EVIDENCE)
def test_what_a_board_proves_is_verified_from_the_bytes_alone(name):
    change, error = BAD_EVIDENCE[name]
    evidence = make_evidence("AMPFLR2607000021", mac_of(1))
    content = serialize_evidence(evidence)
    assert serialize_evidence(parse_evidence(content)) == content
    assert prove(evidence)[0].serial == "AMPFLR2607000021"
    with pytest.raises(error):
        prove(change(evidence))


def test_a_record_of_another_board_or_of_a_revoked_station_is_no_proof():
    evidence = make_evidence("AMPFLR2607000021", mac_of(1))
    other = make_evidence("AMPFLR2607000021", mac_of(2))
    with pytest.raises(Exception, match="board"):
        prove(replace(evidence, record=other.record))
    station = fixed_signer("tampered ca station-1").public_key.key_id
    with pytest.raises(SigningError, match="revoked"):
        verify_evidence(
            serialize_evidence(evidence), now=LATER, revoked_key_ids={station}, where="slot 1"
        )


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return FactoryTemplate(tmp_path_factory.mktemp("template"), stations=("station-2",))


@pytest.fixture(params=BACK_ENDS)
def factory(template, tmp_path, request):
    return template.copy(request.param, tmp_path / "factory", request)


def test_a_board_of_a_lease_is_adopted_when_the_lease_is_lost_and_its_outbox_may_come_back(factory):
    """The outbox tells nothing new of that number then, and voids nothing that a board has."""
    factory.take(days=1)
    (given,) = make_offline(factory, 1)
    ledger, writer = factory.open(), factory.writer("station-2")
    evidence = make_evidence(given.serial, leased_mac(1))
    meet(ledger, writer, given.serial, leased_mac(1))
    with pytest.raises(SupervisionError, match="its station brings it with `station sync`"):
        adopt_in(ledger, writer, evidence)
    factory.clock += dt.timedelta(days=2)
    declare_lost(ledger, writer, "station-1/1", reason="fire", today=factory.clock.date())
    adopt_in(ledger, writer, evidence)
    ledger.verify_chains()
    (lease,) = list_leases(ledger)
    assert (lease.given, lease.voided, lease.left) == (1, 4, 0)
    (refused,) = factory.sync().refused
    assert "meanwhile" in refused
    ledger.verify_chains()
    (unit,) = list_units(ledger.database)
    assert (unit.serial, unit.mac, unit.state) == (given.serial, leased_mac(1), UnitState.REWORK)
    assert find_quarantine(ledger, leased_mac(1)) is not None, "two told of it: a person looks"
    ledger.close()


def test_an_outbox_that_was_set_back_and_gave_an_adopted_number_twice_is_taken_over(factory):
    """As a snapshot of a whole machine does: same files, same place, and yesterday in them."""
    factory.take(days=1)
    folder = factory.folder()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (given,) = make_offline(factory, 1)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path in before:
            path.write_bytes(before[path])
        else:
            path.unlink()
    (twice,) = make_offline(factory, 2)
    assert twice.serial == given.serial
    ledger, writer = factory.open(), factory.writer("station-2")
    factory.clock += dt.timedelta(days=2)
    declare_lost(ledger, writer, "station-1/1", reason="fire", today=factory.clock.date())
    meet(ledger, writer, given.serial, leased_mac(1))
    adopt_in(ledger, writer, make_evidence(given.serial, leased_mac(1)))
    (refused,) = factory.sync().refused
    assert f"the number belongs to {leased_mac(1).hex(':')} now" in refused
    ledger.verify_chains()
    (unit,) = list_units(ledger.database)
    assert (unit.serial, unit.mac) == (given.serial, leased_mac(1))
    assert find_quarantine(ledger, leased_mac(2)) is not None, "the second board of that number"
    with pytest.raises(SupervisionError, match="belongs to"):
        adopt_in(ledger, writer, make_evidence(given.serial, leased_mac(2)))
    ledger.close()
