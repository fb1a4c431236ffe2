"""A unit's identity within one job: certificate, trust record and release counter, and the proof.

The dialogue with the board is `identity`; here it is one step of the job, done again only when the
board does not prove any more what it proved before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_images.waveform_table import table_digest
from provisioning.errors import BoardRefusalError, IdentityError
from provisioning.identity import NONCE_BYTES, ExpectedIdentity, install_identity, verify_identity
from provisioning.ledger_values import SerialState
from provisioning.link_release import (
    ReleaseReadRequest,
    ReleaseReadResponse,
    ReleaseWriteRequest,
    ReleaseWriteResponse,
)
from provisioning.station_values import Step, reject_for
from provisioning.unit_judgement import judge_release_floor
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.device_link import DeviceLink
    from provisioning.station import Station
    from provisioning.unit_job import UnitJob


class UnitIdentity:
    """The identity of one unit within one job.

    Args:
        station: What all slots share.
        job: The job's memory.
        link: The board's application.
    """

    def __init__(self, station: Station, job: UnitJob, link: DeviceLink) -> None:
        self._station = station
        self._job = job
        self._link = link

    def install(self) -> None:
        """Give the board identity, trust record and release counter, and have it prove the key.

        Raises:
            BoardRefusalError: The board has another identity, or refuses certificate, trust record
                or release statement.
            IdentityError: The proof fails.
            UnitRejection: The board had a newer release before.
            SigningError: Request, certificate or signature do not verify.
        """
        self._job.perform(
            Step.IDENTITY,
            intent={
                "trust_version": self._station.trust.version,
                "release_counter": self._station.bundle.statement.release_counter,
            },
            act=self._install,
            still_holds=self._proves_again,
            serial_state=SerialState.ASSIGNED,
        )

    def prove(self) -> Mapping[str, object]:
        """Have the board prove its key and use the release's table; return what it proved.

        Raises:
            IdentityError: The proof fails, or the board does not accept the table.
            SigningError: Certificate or signature do not verify.
        """
        station, reservation = self._station, self._job.reservation
        certificate = verify_identity(
            self._link,
            expected=ExpectedIdentity(
                serial=reservation.serial,
                mac=reservation.mac,
                app_sha256=station.bundle.image.image_sha256,
                trust=station.trust,
                now=station.outside.now(),
            ),
            nonce=station.outside.random_bytes(NONCE_BYTES),
        )
        wanted, used = table_digest(station.bundle.table_bytes), self._link.read_info().tabsha
        if used != wanted:
            raise IdentityError(
                "the board does not accept the waveform table of the release",
                expected=wanted.hex(),
                got=used.hex() or "no approved table",
                where=self._link.where,
                hint="check that the trust record names the policy keys that approved the table",
            )
        return {
            "certificate": certificate.der.hex(),
            "key_id": certificate.public_key.key_id.hex(),
            "trust_version": station.trust.version,
        }

    def find_floor_faults(self) -> tuple[str, ...]:
        """Return what is wrong with the oldest release that the board still takes."""
        return judge_release_floor(self._read_floor(), bundle=self._station.bundle)

    def _install(self) -> Mapping[str, object]:
        install_identity(
            self._link,
            keys=self._station.keys,
            trust_bytes=self._station.trust_bytes,
            trust_version=self._station.trust.version,
            reservation=self._job.reservation,
        )
        proof = self.prove()
        # Last, because the board compares the statement with the table, which needs its trust.
        self._link.request(
            ReleaseWriteRequest,
            ReleaseWriteResponse,
            stmt=self._station.bundle.signed_statement,
        )
        floor = self._read_floor()
        reject_for(Step.IDENTITY, judge_release_floor(floor, bundle=self._station.bundle))
        return {**proof, **_floor_document(floor)}

    def _proves_again(self, confirmed: Mapping[str, object]) -> bool:
        try:
            return {**self.prove(), **_floor_document(self._read_floor())} == confirmed
        except (BoardRefusalError, IdentityError, SigningError):
            return False

    def _read_floor(self) -> ReleaseReadResponse:
        return self._link.request(ReleaseReadRequest, ReleaseReadResponse)


def _floor_document(floor: ReleaseReadResponse) -> dict[str, object]:
    return {"release_counter": floor.counter, "policy_version_floor": floor.policy}
