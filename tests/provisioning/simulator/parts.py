"""What a board needs to be finished: keys, trust, a release in flash, records, and a link to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from firmware_images.approval import build_approval, sign_approval
from firmware_images.calibration_record import CalibrationRecord, sign_calibration_record
from firmware_images.otadata import OTADATA_SIZE_BYTES, OtaState, initial_otadata
from firmware_images.partitions import (
    TABLE_OFFSET_BYTES,
    load_partition_table,
    serialize_partition_table,
)
from firmware_images.waveform import Balance, Level, Mode, Regulation, Segment, WaveformTable
from firmware_images.waveform_slot import serialize_waveform_slot
from firmware_images.waveform_table import serialize_waveform_table
from provisioning.link_frames import Frame, LineAssembler, LogLine, serialize_frame
from provisioning.link_identity import (
    CertificateWriteRequest,
    CertificateWriteResponse,
    IdentityWriteRequest,
    IdentityWriteResponse,
)
from provisioning.link_key_storage import KeyStorageWriteRequest, KeyStorageWriteResponse
from provisioning.link_messages import BOARD_BUFFER_BYTES, BoardError
from provisioning.simulator.board import SimulatedBoard
from signing.certificate_issuing import (
    create_ca_certificate,
    issue_certificate,
    issue_station_certificate,
)
from signing.keys import Algorithm
from signing.roles import Role, RoleKeys
from signing.signers import SoftwareSigner
from signing.trust import TrustRecord, sign_trust_record

if TYPE_CHECKING:
    from firmware_images.flash_medium import FlashMedium

ROOT = Path(__file__).resolve().parents[3]
FLARE = ROOT / "examples" / "flare"
TABLE = load_partition_table(FLARE / "partitions.csv")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SERIAL = "AF-FLR-26-00001-X"
JOB = "job-1"

AnyResponse = TypeVar("AnyResponse")


def now() -> datetime:
    return NOON


def image(version: str) -> bytes:
    return (FLARE / "firmware" / "images" / f"flare-{version}.bin").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of a small factory."""

    signers: dict[Role, tuple[SoftwareSigner, ...]]
    ca: SoftwareSigner
    ca_der: bytes
    station: SoftwareSigner
    station_der: bytes

    def trust(self, *, version: int = 1, **changes: Any) -> TrustRecord:
        values = {
            "product": "flare",
            "version": version,
            "roles": {
                role: RoleKeys(threshold=1, keys=tuple(s.public_key for s in signers))
                for role, signers in self.signers.items()
            },
            "minimum_policy_version": 1,
            "factory_ca_der": self.ca_der,
        }
        return TrustRecord(**(values | changes))

    def trust_bytes(self, **changes: Any) -> bytes:
        return sign_trust_record(self.trust(**changes), self.signers[Role.ROOT][:1])


@cache
def keys() -> Keys:
    def make() -> SoftwareSigner:
        return SoftwareSigner.generate(Algorithm.ECDSA_P256)

    ca, station = make(), make()
    ca_der = create_ca_certificate(ca, common_name="test factory", not_before=NOON)
    return Keys(
        signers={Role.ROOT: (make(), make()), Role.POLICY: (make(),), Role.RELEASE: (make(),)},
        ca=ca,
        ca_der=ca_der,
        station=station,
        station_der=issue_station_certificate(
            ca, ca_der, station.public_key, station_name="station 1", not_before=NOON
        ),
    )


def waveform_table(**changes: Any) -> WaveformTable:
    """One balanced mode: 10 ms up, 10 ms down, 5 ms rest, flipping every two pulses."""

    def level(peak: int) -> Level:
        parts = ((100, peak, peak), (100, -peak, -peak), (50, 0, 0))
        return Level(
            peak_na=peak,
            segments=tuple(
                Segment(duration_ticks=ticks, start_na=start, end_na=end)
                for ticks, start, end in parts
            ),
        )

    mode = Mode(
        name="LIFT",
        balance=Balance.BALANCED,
        regulation=Regulation.CURRENT,
        levels=(level(80_000), level(400_000)),
        pulses_per_burst=2,
        burst_off_ticks=100,
        flips_each_burst=True,
        session_ticks=600_000,
    )
    values: dict[str, Any] = {
        "hardware_class": "flare-c3",
        "tick_us": 100,
        "clamp_na": 600_000,
        "hard_stop_ticks": 12_000_000,
        "contact_area_mm2": 50,
        "policy_digest": bytes(32),
        "policy_version": 1,
        "modes": (mode,),
    }
    return WaveformTable(**(values | changes))


def waveform_slot(table: WaveformTable | None = None) -> bytes:
    table_bytes = serialize_waveform_table(table or waveform_table())
    approval = sign_approval(build_approval(table_bytes), keys().signers[Role.POLICY])
    return serialize_waveform_slot(table_bytes, approval)


def write_partition(flash: FlashMedium, name: str, content: bytes) -> None:
    partition = TABLE.find(name)
    flash.erase(partition.offset_bytes, -(-len(content) // 4096) * 4096)
    flash.write(partition.offset_bytes, content)


def flash_release(
    flash: FlashMedium, *, version: str = "1.4.0", slot: int = 0, state: OtaState = OtaState.VALID
) -> None:
    """Write partition table, otadata, application and waveform slot."""
    flash.erase(TABLE_OFFSET_BYTES, 4096)
    flash.write(TABLE_OFFSET_BYTES, serialize_partition_table(TABLE))
    otadata = TABLE.find("otadata")
    flash.erase(otadata.offset_bytes, OTADATA_SIZE_BYTES)
    flash.write(otadata.offset_bytes, initial_otadata(slot, state=state))
    write_partition(flash, f"ota_{slot}", image(version))
    write_partition(flash, f"wave_{slot}", waveform_slot())


def calibration_record(mac: bytes, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "serial": SERIAL,
        "mac": mac,
        "job_id": JOB,
        "generation": 1,
        "full_scale_na": 1_000_000,
        "dac_bits": 12,
        "gain_ppm": 1_021_000,
        "offset_na": 4_200,
        "reference_load_ohm": 5_000,
        "output_impedance_ohm": 1_000_000,
        "verified_min_na": -500_000,
        "verified_max_na": 500_000,
        "verified_load_min_ohm": 500,
        "verified_load_max_ohm": 10_000,
        "temperature_centi_c": 2_300,
        "instrument": "test meter",
        "fit_digest": bytes(32),
        "created_at": NOON,
    }
    record = CalibrationRecord(**(values | changes))
    return sign_calibration_record(record, keys().station, keys().station_der)


@dataclass(kw_only=True)
class BoardLink:
    """Requests to a board without a port in between."""

    board: SimulatedBoard
    log: list[str] = field(default_factory=list)

    def send(self, message_bytes: bytes) -> bytes | None:
        assembler = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)
        answer = None
        for item in assembler.feed(self.board.receive(serialize_frame(message_bytes))):
            if isinstance(item, Frame):
                answer = item.message_bytes
            elif isinstance(item, LogLine):
                self.log.append(item.text)
        return answer

    def ask(self, request: Any, response_class: type[AnyResponse]) -> AnyResponse:
        answer = self.send(request.BYTES)
        assert answer is not None
        response: AnyResponse = response_class.loads(answer)  # type: ignore[attr-defined]
        return response

    def refusal(self, request: Any) -> int:
        """Return the error code of group 64 that a request is answered with."""
        return int(self.ask(request, BoardError).err.rc)


def make_board(folder: Path, *, seed: int = 1, index: int = 0, **options: Any) -> SimulatedBoard:
    return SimulatedBoard(folder / f"board-{index}", seed, index, now=now, **options)


def enter_download_mode(board: SimulatedBoard) -> bytes:
    """Move the reset lines as esptool does; return what the board prints."""
    board.set_dtr(is_asserted=False)
    board.set_rts(is_asserted=True)
    board.set_dtr(is_asserted=True)
    log = board.set_rts(is_asserted=False)
    board.set_dtr(is_asserted=False)
    return log


def encrypt_keys(link: BoardLink) -> None:
    """Have a board encrypt its key storage, before which it makes no key."""
    assert link.ask(KeyStorageWriteRequest(), KeyStorageWriteResponse).enc


def finish_identity(link: BoardLink, **trust_changes: Any) -> None:
    """Give a board its serial number, certificate and trust record."""
    encrypt_keys(link)
    csr = link.ask(IdentityWriteRequest(serial=SERIAL, job=JOB), IdentityWriteResponse).csr
    certificate = issue_certificate(
        keys().ca,
        keys().ca_der,
        csr,
        expected_serial_number=SERIAL,
        expected_mac=link.board.mac.hex(":"),
        expected_job_id=JOB,
        not_before=NOON,
    )
    link.ask(
        CertificateWriteRequest(cert=certificate, trust=keys().trust_bytes(**trust_changes)),
        CertificateWriteResponse,
    )


def make_running_board(folder: Path, **options: Any) -> BoardLink:
    """A board with release 1.4.0, booted."""
    board = make_board(folder, **options)
    flash_release(board.flash)
    board.power_cycle()
    return BoardLink(board=board)
