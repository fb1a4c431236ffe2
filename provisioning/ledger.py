"""The factory's ledger: which board has which serial number, and everything that was done to it.

Serial numbers are given by chip MAC: the same MAC always gets the same number, whatever crashed in
between. Everything that belongs together is one transaction, and a transaction that returned has
reached the disk. The ledger decides nothing about a unit; it keeps what the station says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, update

from provisioning.ledger_allocation import (
    ask_about_board,
    begin_unit,
    numbers_of_period,
    open_job,
    read_answer,
    withdraw_release,
)
from provisioning.ledger_at_once import RESERVE_AT_ONCE, Expectations, reservation_data
from provisioning.ledger_database import open_database
from provisioning.ledger_events import ChainedEvent, Phase, format_time, parse_time
from provisioning.ledger_guards import (
    ask_about_job,
    read_standing,
    refuse_excluded,
    require_own_job,
)
from provisioning.ledger_journal import append_event
from provisioning.ledger_reader import LedgerReader
from provisioning.ledger_rows import check_row, check_state
from provisioning.ledger_schema import jobs, serial_numbers, units
from provisioning.ledger_values import JobState, Reservation, SerialState, UnitState, Writer
from provisioning.ledger_writes import ANSWER, change_row
from provisioning.serial_numbers import parse_serial
from provisioning.station_values import Step
from provisioning.unit_states import VERDICT_CAUSES, Cause, next_state

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from provisioning.ledger_address import LedgerAddress
    from provisioning.ledger_allocation import NumberBlock
    from provisioning.ledger_database import LedgerDatabase
    from provisioning.ledger_writes import Question


# Made once: building a statement costs more than running it.
_MOVE_SERIAL = (
    update(serial_numbers)
    .where(serial_numbers.c.serial == bindparam("of_serial"))
    .values(state=bindparam("to_state"))
)
_CLOSE_JOB = (
    update(jobs)
    .where(jobs.c.job == bindparam("of_job"))
    .values(
        state=bindparam("to_state"),
        outcome=bindparam("told_outcome"),
        closed_at=bindparam("told_at"),
    )
)
_JUDGE_UNIT = (
    update(units)
    .where(units.c.serial == bindparam("of_serial"))
    .values(state=bindparam("to_state"), changed_at=bindparam("told_at"))
)


class Ledger(LedgerReader["LedgerDatabase"]):
    """An open ledger. Safe to use from several threads and several processes at once.

    Attributes:
        block: The only sequences that it gives; `None` for those of its epoch.
        begins_in: Epoch, and its opening, before the first event.
    """

    block: range | None = None
    begins_in: tuple[int, str | None] = (1, None)

    def __init__(self, database: LedgerDatabase) -> None:
        super().__init__(database)
        self._expectations = Expectations()
        database.identity = (self.identity.uuid, self.identity.epoch, self.identity.opening)

    @classmethod
    def open(cls, address: LedgerAddress) -> Ledger:
        """Open the ledger that `station init` created.

        Raises:
            LedgerError: There is none, or it cannot be used.
        """
        return cls(open_database(address))

    def numbers_at(self, moment: dt.datetime) -> NumberBlock:
        """Return the numbers that a board which is new at a moment may get."""
        return numbers_of_period(self.identity, moment)

    def append(
        self,
        writer: Writer,
        *,
        step: str,
        phase: Phase,
        data: Mapping[str, object],
        mac: bytes | None = None,
        reservation: Reservation | None = None,
        serial_state: SerialState | None = None,
    ) -> ChainedEvent:
        """Write one event down; when this returns, it is on the disk.

        Args:
            writer: Station, clock and source of job names.
            step: Step of the workflow.
            phase: INTENT, CONFIRM or NOTE.
            data: What there is to say, as JSON values.
            mac: Chip MAC, when there is no reservation yet.
            reservation: Serial number and job, once there are.
            serial_state: How far the serial number has come with this event, when it moves.

        Raises:
            LedgerError: The database cannot be written.
        """
        question = ask_about_job(writer, reservation)
        with self.database.writing(question, is_last_word=True) as connection:
            standing = read_standing(connection.info[ANSWER])
            if reservation is not None:
                require_own_job(standing, writer, reservation)
                if phase is not Phase.NOTE:
                    refuse_excluded(standing.excluded, reservation.mac)
            if serial_state is not None and reservation is not None:
                _move_serial(connection, reservation.serial, serial_state)
            chained = append_event(
                connection, writer, epoch=self.identity.epoch, step=step, phase=phase, data=data,
                mac=mac, reservation=reservation, at=writer.now(), end=standing.end,
            )  # fmt: skip
        self._expectations.note_event(chained)
        return chained

    def reserve(
        self,
        writer: Writer,
        *,
        mac: bytes,
        prefix: str,
        model: str,
        bundle_digest: bytes,
        again: bool,
    ) -> Reservation:
        """Give a board its serial number and its job, in one transaction.

        The same MAC keeps its number. An open job with the same bundle is resumed; one with
        another bundle is abandoned. A unit that passed gets no job unless `again`.

        Args:
            writer: Station, clock and source of job names.
            mac: Chip MAC, 6 bytes.
            prefix: Maker's code of the serial numbers.
            model: Model code of the serial numbers.
            bundle_digest: SHA-256 of the release bundle.
            again: Work on a unit that passed already.

        Returns:
            The serial number, and the job unless the unit is done.

        Raises:
            LedgerError: The database cannot be written.
            SerialNumberError: No number is left in this week.
        """
        given = self._reserve_at_once(
            writer, mac=mac, prefix=prefix, model=model, bundle_digest=bundle_digest
        )
        if given is not None:
            return given
        identity = self.identity

        def question_at(moment: dt.datetime) -> Question:
            return ask_about_board(
                mac=mac, station=writer.station, prefix=prefix, model=model,
                numbers=self.numbers_at(moment),
            )  # fmt: skip

        asked_at = writer.now()
        with self.database.writing(question_at(asked_at), is_last_word=True) as connection:
            known = read_answer(connection.info[ANSWER])
            refuse_excluded(known.excluded, mac)
            now = writer.now()  # not before the lock: time follows the order of writing
            if self.numbers_at(now) != self.numbers_at(asked_at):  # the week ended meanwhile
                statement, values = question_at(now)
                known = read_answer(connection.execute(statement, dict(values)).one())
            unit = None
            if known.serial is not None:
                chosen = select(units).where(units.c.serial == known.serial)
                unit = check_row(
                    connection.execute(chosen).one(), units, where=str(self.database.address)
                )
            if unit is None:
                state = next_state(None, Cause.RESERVE, where=mac.hex(":"))
                serial, job = begin_unit(
                    connection, writer, known, mac=mac, prefix=prefix, model=model,
                    bundle_digest=bundle_digest, identity=identity, numbers=self.numbers_at(now),
                    now=now,
                )  # fmt: skip
            else:
                serial, state = unit.serial, check_state(UnitState, unit.state, where=unit.serial)
                if state is UnitState.PASS and not again:
                    return Reservation(
                        serial=serial, mac=mac, job=None, job_number=None,
                        opened_at=parse_time(unit.changed_at), is_new=False, is_resumed=False,
                        unit_state=state, bundle_digest=unit.bundle_digest,
                    )  # fmt: skip
                cause = Cause.AGAIN if state is UnitState.PASS else Cause.RESERVE
                moved = next_state(state, cause, where=serial)
                job = open_job(
                    connection, writer, serial=serial, bundle_digest=bundle_digest, now=now
                )
                if not job.is_resumed:
                    # What passed before passes no more until this job says so.
                    withdraw_release(connection, serial)
                connection.execute(
                    update(units)
                    .where(units.c.serial == serial)
                    .values(
                        state=moved.value,
                        last_job=job.job,
                        bundle_digest=bundle_digest,
                        changed_at=format_time(now),
                    )
                )
            reservation = Reservation(
                serial=serial, mac=mac, job=job.job, job_number=job.number,
                opened_at=job.opened_at, is_new=unit is None, is_resumed=job.is_resumed,
                unit_state=state, bundle_digest=bundle_digest,
            )  # fmt: skip
            chained = append_event(
                connection, writer, epoch=identity.epoch, step=Step.RESERVE.value,
                phase=Phase.CONFIRM,
                data=reservation_data(
                    is_new=unit is None, is_resumed=job.is_resumed, job_number=job.number,
                    bundle_digest=bundle_digest, run=writer.run,
                ),
                mac=mac, reservation=reservation, at=now, end=known.end,
            )  # fmt: skip
        self._expectations.note_event(chained)
        if unit is None:
            sequence = parse_serial(serial, identity.serial_format).sequence
            numbers = self.numbers_at(now)
            self._expectations.note_given((prefix, model, numbers.year, numbers.week), sequence)
        return reservation

    def _reserve_at_once(
        self, writer: Writer, *, mac: bytes, prefix: str, model: str, bundle_digest: bytes
    ) -> Reservation | None:
        """Have a server give a number to a new board, if everything is as expected there."""
        if not self.database.has_server:
            return None
        expected = self._expectations.expect(
            self.identity, writer, mac=mac, prefix=prefix, model=model,
            bundle_digest=bundle_digest, step=Step.RESERVE.value,
        )  # fmt: skip
        if expected is None:
            return None
        written = self.database.run_at_once(RESERVE_AT_ONCE, expected.values)
        if written is None:
            return None
        serial, sequence, event_hash = written
        self._expectations.note_given(expected.series, sequence)
        self._expectations.note_end(writer.station, expected.end_with(event_hash))
        return Reservation(
            serial=serial, mac=mac, job=expected.job, job_number=1, opened_at=expected.at,
            is_new=True, is_resumed=False, unit_state=next_state(None, Cause.RESERVE, where=serial),
            bundle_digest=bundle_digest,
        )  # fmt: skip

    def finish(
        self,
        writer: Writer,
        *,
        reservation: Reservation,
        unit_state: UnitState,
        data: Mapping[str, object],
        awaits_check: bool = False,
    ) -> ChainedEvent:
        """Close a job with its verdict: event, job, unit and serial number in one transaction.

        Args:
            writer: Station, clock and source of job names.
            reservation: Serial number and job.
            unit_state: The verdict.
            data: What there is to say.
            awaits_check: A PASS releases nothing yet: the check standard is read first.

        Raises:
            LedgerError: The database cannot be written, or the job is not this station's any more.
        """
        assert reservation.job is not None, "a unit without a job has nothing to finish"
        cause = VERDICT_CAUSES[unit_state]
        question = ask_about_job(writer, reservation)
        with self.database.writing(question, is_last_word=True) as connection:
            standing = read_standing(connection.info[ANSWER])
            require_own_job(standing, writer, reservation)
            refuse_excluded(standing.excluded, reservation.mac)
            unit_state = next_state(UnitState.IN_WORK, cause, where=reservation.serial)
            now = writer.now()
            chained = append_event(
                connection, writer, epoch=self.identity.epoch, step=Step.FINAL.value,
                phase=Phase.CONFIRM,
                data={**data, "outcome": unit_state.value}
                | ({"awaits_check": True} if awaits_check else {}),
                mac=reservation.mac, reservation=reservation, at=now, end=standing.end,
            )  # fmt: skip
            at = format_time(now)
            change_row(
                connection, _CLOSE_JOB,
                {"of_job": reservation.job, "to_state": JobState.CLOSED.value,
                 "told_outcome": unit_state.value, "told_at": at},
            )  # fmt: skip
            change_row(
                connection, _JUDGE_UNIT,
                {"of_serial": reservation.serial, "to_state": unit_state.value, "told_at": at},
            )  # fmt: skip
            if unit_state is UnitState.PASS and not awaits_check:
                _move_serial(connection, reservation.serial, SerialState.RELEASED)
        self._expectations.note_event(chained)
        return chained

    def verify_chains(
        self, *, on_progress: Callable[[int, int], None] = lambda _done, _total: None
    ) -> dict[str, tuple[int, bytes]]:
        """Return count and head of every station's chain after the whole ledger was verified.

        Args:
            on_progress: Told how many of how many events and units were looked at.

        Raises:
            LedgerError: A chain is broken, or a table says something else than the events.
        """
        from provisioning.ledger_audit import audit_ledger  # a tenth of a short command's time

        with self.database.reading() as connection:
            return audit_ledger(
                connection,
                self.identity,
                on_progress=on_progress,
                block=self.block,
                begins_in=self.begins_in,
            )


def _move_serial(connection: Connection, serial: str, state: SerialState) -> None:
    change_row(connection, _MOVE_SERIAL, {"of_serial": serial, "to_state": state.value})
