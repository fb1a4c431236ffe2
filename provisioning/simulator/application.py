"""The firmware that a simulated board runs: the application's side of docs/spec/serial-link.md.

It prints its name and version, answers SMP, keeps the unit's records, and drives the output. It
runs only for the product that the simulator knows; the machine code in flash is never executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smp import image_management, os_management
from smp.header import OP, CommandId, GroupId

from firmware_images.approval import verify_approval
from firmware_images.calibration_record import refuse_uncovered_table
from firmware_images.errors import CalibrationRecordError, FirmwareImageError
from firmware_images.waveform_slot import parse_waveform_slot
from firmware_images.waveform_table import parse_waveform_table, table_digest
from provisioning import (
    link_identity,
    link_key_storage,
    link_messages,
    link_output,
    link_release,
)
from provisioning.link_messages import BoardCommand, BoardErrorCode
from provisioning.simulator.key_storage import KeyStorage
from provisioning.simulator.output_control import OutputControl
from provisioning.simulator.smp_server import BoardRefusalError, Handler, SmpServer
from provisioning.simulator.standard_groups import describe_images, describe_parameters
from provisioning.simulator.unit_record import UnitRecord
from provisioning.simulator.update_relay import UpdateRelay
from signing.canonical_cbor import serialize_cbor
from signing.cose import sign_one
from signing.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smp.message import Request, Response

    from firmware_images.calibration_record import CalibrationRecord
    from firmware_images.waveform import WaveformTable
    from provisioning.simulator.boot import BootedImage
    from provisioning.simulator.hardware import Hardware
    from provisioning.simulator.update_session import UpdateSession

CHIP_NAME: Final = "ESP32-C3"


class Application:
    """One boot of the firmware.

    Args:
        board: The hardware.
        image: What was booted.
        update_session: Answers the update command; `None` if this line has no updater.

    Attributes:
        is_reset_due: Whether the chip restarts once the answer is sent.
    """

    def __init__(
        self, board: Hardware, image: BootedImage, *, update_session: UpdateSession | None
    ) -> None:
        self.is_reset_due = False
        self._board = board
        self._image = image
        self._log_lines: list[str] = []
        self._updates = UpdateRelay(update_session)
        self._unit = UnitRecord(
            board.flash,
            image.table.find("devrec"),
            keys=KeyStorage(board.flash, image.table, board.hidden_key),
            mac=board.mac,
            now=board.now,
        )
        self._output = OutputControl(board, load_calibration=self._load_calibration)
        self._server = SmpServer(self._handlers(), log=self._log_lines.append)

    @property
    def has_session(self) -> bool:
        """Whether a waveform is running."""
        return self._output.has_session

    def lock_output(self) -> None:
        """Switch the output off, and refuse to switch it on until it is unlocked or rebooted."""
        self._output.lock()

    def unlock_output(self) -> None:
        """Allow the output to be switched on again."""
        self._output.unlock()

    def self_test(self) -> str | None:
        """Check what a first boot must show; return what failed, or `None`.

        The waveform table of the running slot must be approved, and covered by the unit's
        calibration.
        """
        if self._image.version in self._board.faults.failing_self_tests:
            return "the self-test fails by plan"
        try:
            table, _ = self._load_table()
            refuse_uncovered_table(self._load_calibration(), table)
        except (BoardRefusalError, CalibrationRecordError) as error:
            return str(error)
        return None

    def banner(self) -> bytes:
        """Return the line that the firmware prints once a second."""
        return f"{self._image.project_name} {self._image.version}\r\n".encode()

    def receive(self, untrusted_bytes: bytes) -> bytes:
        """Take bytes from the UART; return log lines and answers."""
        answers = self._server.receive(untrusted_bytes)
        log = "".join(f"{line}\r\n" for line in self._log_lines).encode()
        self._log_lines.clear()
        return log + answers

    def _handlers(self) -> dict[tuple[int, int, OP], Handler]:
        handlers: dict[tuple[int, int, OP], Handler] = {}

        def add(request_class: type[Request], serve: Callable[..., Response]) -> None:
            key = (
                int(request_class._GROUP_ID),  # noqa: SLF001 - how smp names a message's place
                int(request_class._COMMAND_ID),  # noqa: SLF001
                request_class._OP,  # noqa: SLF001
            )
            handlers[key] = Handler(request_class=request_class, serve=serve)

        add(os_management.EchoWriteRequest, lambda r: os_management.EchoWriteResponse(r=r.d))
        add(os_management.ResetWriteRequest, self._reset)
        add(os_management.MCUMgrParametersReadRequest, lambda _: describe_parameters())
        add(
            image_management.ImageStatesReadRequest,
            lambda _: describe_images(self._board.flash, self._image),
        )
        add(link_messages.InfoReadRequest, self._info)
        add(link_identity.IdentityWriteRequest, self._identity)
        add(link_identity.CertificateWriteRequest, self._store_certificate)
        add(link_identity.CertificateReadRequest, self._certificate)
        add(link_identity.ChallengeWriteRequest, self._challenge)
        add(link_key_storage.KeyStorageReadRequest, self._key_storage)
        add(link_key_storage.KeyStorageWriteRequest, self._encrypt_keys)
        add(link_output.OutputWriteRequest, self._output.serve)
        add(link_output.CalibrationWriteRequest, self._store_calibration)
        add(link_output.CalibrationReadRequest, self._calibration)
        add(link_output.RunWriteRequest, self._run)
        add(link_identity.TrustWriteRequest, self._store_trust)
        add(link_identity.TrustReadRequest, self._trust)
        add(link_release.UpdateWriteRequest, self._update)
        add(link_release.ReleaseWriteRequest, self._take_release)
        add(link_release.ReleaseReadRequest, self._release)
        assert {(GroupId.OS_MANAGEMENT, CommandId.OSManagement.RESET, OP.WRITE)} <= set(handlers)
        assert {key[1] for key in handlers if key[0] == link_messages.BOARD_GROUP_ID} == set(
            BoardCommand
        )
        return handlers

    def _reset(self, _: os_management.ResetWriteRequest) -> os_management.ResetWriteResponse:
        self.is_reset_due = True
        return os_management.ResetWriteResponse()

    def _info(self, _: link_messages.InfoReadRequest) -> link_messages.InfoReadResponse:
        board, image = self._board, self._image
        identity = self._unit.load_identity()
        calibration = self._unit.load_calibration()
        try:
            digest = self._load_table()[1]
        except BoardRefusalError:
            digest = b""
        return link_messages.InfoReadResponse(
            product=board.product.name,
            hwclass=board.product.hardware_class,
            hwrev=board.product.hardware_revision,
            chip=CHIP_NAME,
            mac=board.mac,
            app=image.project_name,
            ver=image.version,
            appsha=image.image_sha256,
            elfsha=image.elf_sha256,
            tabsha=digest,
            serial="" if identity is None else identity.serial,
            calgen=0 if calibration is None else calibration[1],
            slot=image.slot,
            otastate=board.slot_state().name.lower(),
            bat=board.battery_percent,
            session=self.has_session,
        )

    def load_private_key(self) -> bytes:
        """Return the private key of the unit, for what else runs on the board; empty if none."""
        identity = self._unit.load_identity()
        return b"" if identity is None else self._unit.load_private_key(identity)

    def _key_storage(
        self, _: link_key_storage.KeyStorageReadRequest
    ) -> link_key_storage.KeyStorageReadResponse:
        block, key = self._unit.describe_keys()
        return link_key_storage.KeyStorageReadResponse(enc=block is not None, block=block, key=key)

    def _encrypt_keys(
        self, _: link_key_storage.KeyStorageWriteRequest
    ) -> link_key_storage.KeyStorageWriteResponse:
        self._unit.encrypt_keys()
        block, key = self._unit.describe_keys()
        return link_key_storage.KeyStorageWriteResponse(enc=block is not None, block=block, key=key)

    def _identity(
        self, request: link_identity.IdentityWriteRequest
    ) -> link_identity.IdentityWriteResponse:
        return link_identity.IdentityWriteResponse(
            csr=self._unit.begin_identity(request.serial, request.job)
        )

    def _store_certificate(
        self, request: link_identity.CertificateWriteRequest
    ) -> link_identity.CertificateWriteResponse:
        self._unit.store_certificate(request.cert, request.trust)
        return link_identity.CertificateWriteResponse()

    def _certificate(
        self, _: link_identity.CertificateReadRequest
    ) -> link_identity.CertificateReadResponse:
        identity = self._unit.load_identity()
        return link_identity.CertificateReadResponse(
            cert=b"" if identity is None else identity.certificate_der
        )

    def _challenge(
        self, request: link_identity.ChallengeWriteRequest
    ) -> link_identity.ChallengeWriteResponse:
        identity = self._unit.load_identity()
        if identity is None:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "this board has no key yet")
        payload = serialize_cbor(
            {
                1: request.nonce,
                2: identity.serial,
                3: self._board.mac,
                4: self._image.image_sha256,
            }
        )
        signature = sign_one(
            payload, self._unit.signer(identity), content_type=link_identity.CHALLENGE_CONTENT_TYPE
        )
        return link_identity.ChallengeWriteResponse(sig=signature)

    def _store_calibration(
        self, request: link_output.CalibrationWriteRequest
    ) -> link_output.CalibrationWriteResponse:
        return link_output.CalibrationWriteResponse(gen=self._unit.store_calibration(request.rec))

    def _calibration(
        self, _: link_output.CalibrationReadRequest
    ) -> link_output.CalibrationReadResponse:
        record_bytes, generation = self._unit.load_calibration_bytes()
        return link_output.CalibrationReadResponse(rec=record_bytes, gen=generation)

    def _store_trust(
        self, request: link_identity.TrustWriteRequest
    ) -> link_identity.TrustWriteResponse:
        return link_identity.TrustWriteResponse(ver=self._unit.store_next_trust(request.rec))

    def _trust(self, _: link_identity.TrustReadRequest) -> link_identity.TrustReadResponse:
        trust = self._unit.load_trust()
        return link_identity.TrustReadResponse(ver=0 if trust is None else trust.version)

    def _update(self, request: link_release.UpdateWriteRequest) -> link_release.UpdateWriteResponse:
        if self.has_session:
            raise BoardRefusalError(BoardErrorCode.IN_SESSION, "a waveform is running")
        return self._updates.serve(request)

    def _take_release(
        self, request: link_release.ReleaseWriteRequest
    ) -> link_release.ReleaseWriteResponse:
        state = self._unit.take_release(
            request.stmt,
            app_sha256=self._image.image_sha256,
            table_sha256=self._load_table()[1],
            hardware_class=self._board.product.hardware_class,
        )
        return link_release.ReleaseWriteResponse(
            counter=state.release_counter, policy=state.policy_version_floor
        )

    def _release(self, _: link_release.ReleaseReadRequest) -> link_release.ReleaseReadResponse:
        state = self._unit.load_update_state()
        return link_release.ReleaseReadResponse(
            counter=state.release_counter, policy=state.policy_version_floor
        )

    def _run(self, request: link_output.RunWriteRequest) -> link_output.RunWriteResponse:
        return self._output.run(request, self._load_table()[0])

    def _load_calibration(self) -> CalibrationRecord:
        calibration = self._unit.load_calibration()
        if calibration is None:
            raise BoardRefusalError(
                BoardErrorCode.NOT_CALIBRATED, "there is no valid calibration record"
            )
        return calibration[0]

    def _load_table(self) -> tuple[WaveformTable, bytes]:
        """Return the table of the running slot and its digest, if the policy role approved it."""
        trust = self._unit.load_trust()
        if trust is None:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, "there is no trust record")
        try:
            partition = self._image.table.find(f"wave_{self._image.slot}")
            content = self._board.flash.read(partition.offset_bytes, partition.size_bytes)
            table_bytes, approval_bytes = parse_waveform_slot(content)
            verify_approval(
                approval_bytes,
                trust,
                table_bytes=table_bytes,
                hardware_class=self._board.product.hardware_class,
            )
            return parse_waveform_table(table_bytes), table_digest(table_bytes)
        except (FirmwareImageError, SigningError) as error:
            raise BoardRefusalError(BoardErrorCode.BAD_SIGNATURE, error) from error
