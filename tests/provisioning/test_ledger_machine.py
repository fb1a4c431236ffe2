"""Whatever stations, operators and supervisors do in whatever order, the ledger's promises hold.

The promises (docs/spec/provisioning.md §2): a MAC has one live serial number and a number one MAC;
each number is in exactly one state; none is RELEASED without a PASS after the last calibration was
written; what was refused changed nothing; and the tables always follow from the chained events.
The ledger may be lost and restored from an older backup in between: boards that prove a number of
the lost time get exactly that one back, and it is nobody else's.
"""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from provisioning.classification import BoardClass, BoardIdentity, Classification, RecordCondition
from provisioning.errors import LedgerError, QuarantineError, SupervisionError
from provisioning.ledger import Ledger
from provisioning.ledger_backup import write_backup
from provisioning.ledger_board_view import view_board
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_events import Phase
from provisioning.ledger_quarantine import find_quarantine, open_quarantine
from provisioning.ledger_queries import list_jobs, list_serials, list_units
from provisioning.ledger_restore import restore_ledger
from provisioning.ledger_supervision import carry_out, prepare_order
from provisioning.ledger_values import JobState, SerialState, UnitState, Writer
from provisioning.ledger_voids import find_range
from provisioning.serial_numbers import parse_serial
from provisioning.supervision import Act, sign_act
from tests.conftest import IS_SOAK
from tests.firmware_images.release_parts import signer
from tests.provisioning.made_evidence import adopt_in, make_evidence

pytestmark = pytest.mark.no_cover  # what it repeats is counted elsewhere

START = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
MACS = [bytes([2, 0, 0, 0, 0, number]) for number in range(4)]
STATIONS = ["station-1", "station-2"]
BUNDLES = [bytes([number]) * 32 for number in range(2)]
VERDICTS = [
    UnitState.PASS,
    UnitState.CONDITIONAL_PASS,
    UnitState.CONDITIONAL_FAIL,
    UnitState.FAIL,
]
ORDERS = [act for act in Act if act is not Act.ADOPT]
LOSSES_MAX = 2
macs, stations = st.sampled_from(MACS), st.sampled_from(STATIONS)


class LedgerMachine(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ampforge-ledger-"))
        self.path = self.folder / "ledger.sqlite3"
        create_ledger(self.path, product="flare", ledger_uuid="uuid-1", created_at=START)
        self.ledger = Ledger.open(self.path)
        self.clock = itertools.count()
        self.names = itertools.count(1)
        self.given: dict[str, bytes] = {}
        self.proved: dict[bytes, str] = {}
        self.backup: Path | None = None
        self.losses = 0

    def teardown(self):
        self.ledger.close()
        shutil.rmtree(self.folder)

    def writer(self, station):
        return Writer(
            station=station,
            now=lambda: START + dt.timedelta(seconds=next(self.clock)),
            new_job=lambda: f"job-{next(self.names)}",
        )

    def rows(self):
        database = self.ledger.database
        units = list_units(database)
        jobs = [job for unit in units for job in list_jobs(database, unit.serial)]
        return units, jobs, list_serials(database)

    def refused(self, kinds, act):
        """Do something, or have it refused without a trace."""
        before = self.rows()
        try:
            return act()
        except kinds:
            assert self.rows() == before, "what was refused changed something"
            return None

    @rule(
        target=jobs,
        mac=macs,
        station=stations,
        bundle=st.sampled_from(BUNDLES),
        again=st.booleans(),
    )
    def reserve(self, mac, station, bundle, again):
        reservation = self.refused(
            QuarantineError,
            lambda: self.ledger.reserve(
                self.writer(station), mac=mac, prefix="AMP", model="FLR", bundle_digest=bundle,
                again=again,
            ),
        )  # fmt: skip
        assert reservation is not None or self.is_excluded(mac)
        return multiple() if reservation is None else (station, reservation)

    def is_excluded(self, mac):
        view = view_board(self.ledger, mac, BoardIdentity(condition=RecordCondition.BLANK))
        return view.replaced_in is not None or find_quarantine(self.ledger, mac) is not None

    @rule(held=jobs, step=st.sampled_from(["identity", "record", "verify"]))
    def confirm(self, held, step):
        station, reservation = held
        if reservation.job is None:
            return
        state = SerialState.ASSIGNED if step == "identity" else None
        done = self.refused(
            (LedgerError, QuarantineError),
            lambda: self.ledger.append(
                self.writer(station), step=step, phase=Phase.CONFIRM, data={},
                reservation=reservation, serial_state=state,
            ),
        )  # fmt: skip
        if done is not None and state is not None:
            self.proved[reservation.mac] = reservation.serial

    @rule(held=consumes(jobs), verdict=st.sampled_from(VERDICTS))
    def finish(self, held, verdict):
        station, reservation = held
        if reservation.job is None:
            return
        self.refused(
            (LedgerError, QuarantineError),
            lambda: self.ledger.finish(
                self.writer(station), reservation=reservation, unit_state=verdict, data={}
            ),
        )

    @rule(mac=macs, station=stations)
    def quarantine(self, mac, station):
        self.meet(mac, station, BoardClass.CLONE)

    def meet(self, mac, station, board_class):
        classification = Classification(
            board_class=board_class, reason="a twin", is_quarantined=True
        )
        open_quarantine(
            self.ledger, self.writer(station), mac=mac, classification=classification,
            identity=BoardIdentity(condition=RecordCondition.BLANK, digest=bytes(32)),
        )  # fmt: skip
        assert find_quarantine(self.ledger, mac) is not None

    @rule(mac=macs, new_mac=macs, station=stations, act=st.sampled_from(ORDERS))
    def order(self, mac, new_mac, station, act):
        writer, new = self.writer(station), new_mac if act is Act.REBIND else b""

        def carry_it_out_twice():
            order = prepare_order(
                self.ledger, writer, act=act, mac=mac, reason="looked at it", new_mac=new
            )
            signed = sign_act(order, [signer("supervisor-1")])
            carry_out(self.ledger, writer, order, signed)
            return order, signed

        done = self.refused(SupervisionError, carry_it_out_twice)
        if done is not None:
            again = self.refused(SupervisionError, lambda: carry_out(self.ledger, writer, *done))
            assert again is None, "an order counted twice"

    @rule()
    def back_up(self):
        self.backup = self.folder / f"backup-{next(self.names)}.jsonl"
        write_backup(self.path, self.backup, now=self.writer("station-1").now())

    @precondition(lambda self: self.backup is not None and self.losses < LOSSES_MAX)
    @rule(station=stations)
    def lose_the_ledger(self, station):
        epoch = self.ledger.identity.epoch
        self.ledger.close()
        self.losses += 1
        self.path = self.folder / f"ledger-{self.losses}.sqlite3"
        restore_ledger(
            self.backup, self.path, self.writer(station), opening=f"opening-{self.losses}",
            reason="the disk died", first_free_epoch=epoch + 1,
        )  # fmt: skip
        self.ledger = Ledger.open(self.path)
        self.given = {one.serial: self.given[one.serial] for one in self.rows()[2]}

    @precondition(lambda self: self.losses < LOSSES_MAX)
    @rule(mac=macs, station=stations)
    def lose_a_board_with_the_ledger(self, mac, station):
        """The backup is from before the board got its number."""
        self.back_up()
        held = self.reserve(mac, station, BUNDLES[0], again=True)
        if not isinstance(held, tuple):
            return
        self.confirm(held, "identity")
        self.lose_the_ledger(station)

    @precondition(lambda self: self.losses > 0)
    @rule(choice=st.integers(0, len(MACS) - 1), station=stations)
    def adopt(self, choice, station):
        """Have a board that proves a number get it back, if nobody has it."""
        units, _, serials = self.rows()
        known = {unit.mac for unit in units}
        lost = [mac for mac in self.proved if mac not in known] or list(self.proved)
        if not lost:
            return
        mac = lost[choice % len(lost)]
        serial = self.proved[mac]
        view = view_board(self.ledger, mac, BoardIdentity(condition=RecordCondition.BLANK))
        is_lost = (
            mac not in known
            and serial not in {one.serial for one in serials}
            and view.replaced_in is None
        )
        self.meet(mac, station, BoardClass.FOREIGN)
        # One that is there as a clone stays there.
        opened = find_quarantine(self.ledger, mac)
        is_lost = is_lost and opened.board_class == BoardClass.FOREIGN.value
        evidence = make_evidence(serial, mac)
        done = self.refused(
            SupervisionError, lambda: adopt_in(self.ledger, self.writer(station), evidence)
        )
        assert (done is not None) == is_lost, (
            "a number that nobody has comes back, no other, and to no clone"
        )
        if done is not None:
            assert find_quarantine(self.ledger, mac) is None
            self.given[serial] = mac

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = Ledger.open(self.path)

    @invariant()
    def a_mac_has_one_number_and_a_number_one_mac(self):
        units, _, serials = self.rows()
        assert len({unit.mac for unit in units}) == len(units) == len(serials)
        assert {(unit.serial, unit.mac) for unit in units} == {
            (serial.serial, serial.mac) for serial in serials
        }
        for serial in serials:
            # A number that was given once is never given again, nor forgotten.
            self.given.setdefault(serial.serial, serial.mac)
        assert self.given.keys() == {serial.serial for serial in serials}

    @invariant()
    def a_number_that_a_board_has_is_not_void(self):
        with self.ledger.database.reading() as connection:
            for serial in self.rows()[2]:
                assert find_range(connection, parse_serial(serial.serial)) is None

    @invariant()
    def a_unit_has_at_most_one_open_job(self):
        units, jobs, _ = self.rows()
        for unit in units:
            open_jobs = [
                job for job in jobs if job.serial == unit.serial and job.state is JobState.OPEN
            ]
            assert len(open_jobs) <= 1
            assert bool(open_jobs) == (unit.state is UnitState.IN_WORK)

    @invariant()
    def none_is_released_without_a_pass_after_its_last_calibration(self):
        units, _, serials = self.rows()
        states = {unit.serial: unit.state for unit in units}
        for serial in serials:
            assert (serial.state is SerialState.RELEASED) == (
                states[serial.serial] is UnitState.PASS
            )
            if serial.state is SerialState.RELEASED:
                steps = [
                    chained.event.step
                    for chained in self.ledger.events(serial=serial.serial)
                    if chained.event.step in {"record", "final"}
                ]
                assert steps[-1] == "final"

    @invariant()
    def the_tables_follow_from_the_events(self):
        self.ledger.verify_chains()


LedgerMachine.TestCase.settings = settings(
    max_examples=400 if IS_SOAK else 8, stateful_step_count=25, deadline=None
)
TestLedgerMachine = LedgerMachine.TestCase
