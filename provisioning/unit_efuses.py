"""Burns one unit's eFuses after it passed: first what is data, then the locks.

A burned bit never goes back, so every field is read and compared before, and read back after. An
equal value is left alone; a contradicting one stops the job before anything is burned, and is
looked for at the start already, when nothing was spent on the board. A chip that is locked tells
nothing but its security flags: what it was burned with then stands in the ledger.

Implements docs/spec/efuses.md §4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.efuse_comparison import Status, compare_efuses
from firmware_images.efuse_fields import DIGEST_SLOTS, Stage
from firmware_images.efuse_plan import DownloadMode
from firmware_images.unit_values import UnitValues
from provisioning.errors import EfuseError, FlashError, LockedChipError
from provisioning.ledger_events import Phase
from provisioning.station_values import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.efuse_comparison import EfuseComparison
    from firmware_images.efuse_plan import EfusePlan
    from provisioning.efuse_access import EfuseAccess
    from provisioning.flasher import Flasher
    from provisioning.station import Station
    from provisioning.unit_job import UnitJob

_PLAN = "plan"


class UnitEfuses:
    """The eFuses of one unit within one job.

    Args:
        station: What all slots share.
        plan: What they shall be.
        job: The job's memory.
        flasher: Finds the chip's loader.
        is_locked: Whether the chip was locked when the job began or went on.
    """

    def __init__(
        self,
        station: Station,
        plan: EfusePlan,
        job: UnitJob,
        *,
        flasher: Flasher,
        is_locked: bool = False,
    ) -> None:
        reservation = job.reservation
        assert reservation.job is not None, "only a job burns anything"
        self._station = station
        self._plan = plan
        self._job = job
        self._flasher = flasher
        self._is_locked = is_locked
        self._fields = plan.fields(
            UnitValues(serial=reservation.serial, mac=reservation.mac, job=reservation.job)
        )

    def refuse_conflicts(self) -> None:
        """Stop before anything is done to a board whose eFuses contradict the plan.

        Raises:
            EfuseError: They do, or the chip is locked and no job of this plan burned it.
            FlashError: The loader does not answer.
        """
        access = self._open()
        if access is None:
            self._find_earlier_burn()
        else:
            self._compare(access)

    def burn(self) -> None:
        """Burn what is data: digests with their purpose, and the user block.

        Raises:
            EfuseError: A field contradicts the plan, or does not read back.
            FlashError: The loader does not answer.
        """
        self._job.perform(
            Step.EFUSES,
            intent=self._intent(Stage.DATA),
            act=self._burn_data,
            still_holds=lambda _confirmed: self._holds(Stage.DATA),
        )

    def lock(self) -> None:
        """Burn the locks, the one that silences the loader last.

        Raises:
            EfuseError: A field contradicts the plan, or the locks do not hold.
            FlashError: The loader does not answer.
        """
        self._job.perform(
            Step.LOCK,
            intent=self._intent(Stage.LOCK, Stage.LAST),
            act=self._burn_locks,
            still_holds=lambda _confirmed: self._holds(Stage.LOCK, Stage.LAST),
        )

    def _burn_data(self) -> Mapping[str, object]:
        access = self._open()
        if access is None:
            return self._find_earlier_burn()
        return {_PLAN: self._plan.digest.hex(), "fields": self._burn_stage(access, Stage.DATA)}

    def _burn_locks(self) -> Mapping[str, object]:
        burned: list[dict[str, object]] = []
        access = self._open()
        if access is not None:
            burned += self._burn_stage(access, Stage.LOCK)
            last = [field for field in self._fields if field.stage is Stage.LAST]
            if last:
                access.burn(last)
                for field in last:  # nobody can read it any more, nor anything else
                    burned.append({"field": field.name, "value": None, "was_there": False})
        return {_PLAN: self._plan.digest.hex(), "fields": burned, "proof": self._prove_locks()}

    def _burn_stage(self, access: EfuseAccess, stage: Stage) -> list[dict[str, object]]:
        before = self._compare(access)
        fields = [field for field in self._fields if field.stage is stage]
        if any(one.status is Status.BURN for one in before if one.field.stage is stage):
            access.burn(fields)
        after = compare_efuses(fields, access.read({field.name for field in fields}))
        left = [one for one in after if one.status is not Status.THERE]
        if left:
            raise EfuseError(
                f"{left[0].field.label} does not read back as it was burned",
                expected=left[0].field.shown,
                got=left[0].now,
                where=self._where,
                hint="take this board out of the line: its eFuses cannot be trusted",
            )
        status = {one.field: one.status for one in before}
        return [
            {
                "field": one.field.label,
                "value": one.now,
                "was_there": status[one.field] is Status.THERE,
            }
            for one in after
        ]

    def _holds(self, *stages: Stage) -> bool:
        access = self._open()
        if access is None:
            return True  # locked: neither we nor anybody else can change them any more
        compared = self._compare(access)
        return all(one.status is Status.THERE for one in compared if one.field.stage in stages)

    def _open(self) -> EfuseAccess | None:
        """Return the chip's eFuses, or `None` from a locked chip."""
        if self._is_locked:
            return None
        try:
            return self._flasher.open_efuses()
        except LockedChipError:
            self._is_locked = True
            return None

    def _compare(self, access: EfuseAccess) -> tuple[EfuseComparison, ...]:
        facts = access.read({field.name for field in self._fields})
        compared = compare_efuses(self._fields, facts)
        for one in compared:
            if one.status is Status.CONFLICT:
                raise EfuseError(
                    f"eFuse {one.field.label} contradicts the plan: {one.reason}",
                    expected=one.field.shown,
                    got=one.now,
                    where=self._where,
                    hint="nothing was burned; put the board aside, or correct the plan",
                )
        return compared

    def _prove_locks(self) -> str:
        """Ask the chip itself; return by what it was proved."""
        try:
            self._flasher.detect()
        except LockedChipError:
            pass
        except FlashError:
            if self._plan.download_mode is DownloadMode.OFF:
                return "the loader does not start"
            raise
        else:
            if self._plan.download_mode is not DownloadMode.OPEN:
                raise self._not_locked("download mode", self._plan.download_mode, "open")
            return "registers"
        facts, plan = self._flasher.read_security(), self._plan
        unused = set(range(len(plan.key_digests), DIGEST_SLOTS))
        if not facts.is_secure_download or plan.download_mode is not DownloadMode.SECURE:
            raise self._not_locked("download mode", plan.download_mode, "secure")
        if plan.enable_secure_boot and not facts.is_secure_boot_enabled:
            raise self._not_locked("Secure Boot", "on", "off")
        if plan.disable_jtag and not facts.is_jtag_disabled:
            raise self._not_locked("JTAG", "off", "on")
        if plan.revoke_unused_digests and not unused <= facts.revoked_digests:
            raise self._not_locked(
                "unused digest slots", sorted(unused), sorted(facts.revoked_digests)
            )
        return "security flags"

    def _find_earlier_burn(self) -> Mapping[str, object]:
        """Return what an earlier job confirmed of a chip that tells nothing any more."""
        for chained in self._station.ledger.events(serial=self._job.reservation.serial):
            event = chained.event
            if event.step != Step.EFUSES.value or event.phase is not Phase.CONFIRM:
                continue
            if event.mac != self._job.reservation.mac:
                continue  # another module's, before this one took its place
            if event.data.get(_PLAN) == self._plan.digest.hex():
                return dict(event.data)
        raise EfuseError(
            "the chip was locked before its eFuses were compared with this plan",
            expected="a unit that an earlier job burned by the same plan",
            got="a locked chip without such a job",
            where=self._where,
            hint="it cannot be told what was burned: use the plan that it was burned by, or put "
            "the board aside",
        )

    def _intent(self, *stages: Stage) -> Mapping[str, object]:
        return {
            _PLAN: self._plan.digest.hex(),
            "fields": [
                {"field": field.name, "wanted": field.shown}
                for field in self._fields
                if field.stage in stages
            ],
        }

    def _not_locked(self, what: str, expected: object, got: object) -> EfuseError:
        return EfuseError(
            f"the chip's {what} is not as it was burned",
            expected=str(expected),
            got=str(got),
            where=self._where,
            hint="start the slot again; if it stays so, put the board aside",
        )

    @property
    def _where(self) -> str:
        return f"{self._job.reservation.serial}, {self._job.reservation.mac.hex(':')}"
