"""Takes a board into the ledger that has an identity of this factory and that the ledger lost.

The board lies in a slot. Its application proves who it is: the certificate, a fresh nonce that it
signs, and the calibration record that a station of this factory signed for it. It goes into
quarantine, if it is not there; a supervisor signs the order about exactly what was proved; the
ledger gives the number back (`ledger_adoption`). Nothing is written to the board. Killed anywhere,
all of it can be done again. Implements docs/spec/provisioning.md §5.1.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from firmware_images.efuse_plan import DownloadMode
from provisioning.board_evidence import (
    BoardEvidence,
    Loader,
    serialize_evidence,
    verify_evidence,
)
from provisioning.classification import (
    BoardIdentity,
    Classification,
    RecordCondition,
    classify_board,
)
from provisioning.device_link import DeviceLink
from provisioning.errors import (
    FlashError,
    LockedChipError,
    ProvisioningError,
    SupervisionError,
)
from provisioning.identity import NONCE_BYTES, ExpectedIdentity, ask_for_proof
from provisioning.ledger_adoption import carry_out_adoption, prepare_adoption
from provisioning.ledger_board_view import view_board
from provisioning.ledger_quarantine import find_quarantine, open_quarantine
from provisioning.link_key_storage import (
    KeyStorageReadRequest,
    KeyStorageReadResponse,
    StoredKey,
)
from provisioning.link_output import CalibrationReadRequest, CalibrationReadResponse
from provisioning.supervision import require_reason, verify_act
from provisioning.unit_admission import read_identity
from provisioning.unit_key_storage import FIRST_FREE_BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioning.board_evidence import VerifiedEvidence
    from provisioning.flasher import Flasher
    from provisioning.ledger_events import ChainedEvent
    from provisioning.link_messages import InfoReadResponse
    from provisioning.station import Station
    from provisioning.supervision import SupervisedAct


def adopt_board(
    station: Station, port_url: str, *, reason: str, sign: Callable[[SupervisedAct], bytes]
) -> tuple[ChainedEvent, VerifiedEvidence]:
    """Give the board in a slot the number back that it has, on a supervisor's order.

    Args:
        station: The open station, with the release and the plans that the board was made by.
        port_url: The board's port.
        reason: Why, for the record.
        sign: Has the supervisor sign the order.

    Returns:
        The event of the order, and what the board proved.

    Raises:
        SupervisionError: The ledger knows the board or its number, or the order is not a
            supervisor's about this board.
        FlashError: The chip does not say what it is, or runs another release than the station's.
        IdentityError: The board proves something else.
        ProvisioningError: Port, board or ledger stopped the work.
        SigningError: Certificate, proof, record or order do not verify.
    """
    require_reason(reason)
    if station.opened.is_offline:
        raise SupervisionError(
            "a board is adopted into the ledger, and the ledger is out of reach",
            expected="the ledger",
            got="the outbox of a lease",
            hint="bring the ledger back, and start again",
        )
    with ExitStack() as resources:
        port = station.open_port(port_url)
        resources.callback(port.close)
        link = DeviceLink(port, where=port_url)
        flasher = station.open_flasher(port, port_url)
        evidence, identity = _examine(station, flasher, link)
        with suppress(ProvisioningError):
            link.reset_board()
    evidence_bytes = serialize_evidence(evidence)
    proved = verify_evidence(
        evidence_bytes,
        now=station.outside.now(),
        revoked_key_ids=station.trust.revoked_key_ids,
        where=port_url,
    )
    if station.opened.outbox is not None:
        # As for any board of the ledger: should that vanish, the outbox must not number this one.
        station.opened.outbox.remember(proved.mac)
    _require_quarantine(station, proved, identity)
    order = prepare_adoption(
        station.ledger,
        station.writer,
        proved=proved,
        evidence_bytes=evidence_bytes,
        reason=reason,
    )
    signed = sign(order)
    verified = verify_act(signed, station.trust, ledger_uuid=station.ledger.identity.uuid)
    chained = carry_out_adoption(
        station.ledger,
        station.writer,
        verified,
        signed,
        proved=proved,
        evidence_bytes=evidence_bytes,
        bundle_digest=station.bundle.digest,
    )
    return chained, proved


def _examine(
    station: Station, flasher: Flasher, link: DeviceLink
) -> tuple[BoardEvidence, BoardIdentity]:
    """Return what the board proves, and what its identity record says."""
    loader, chip_mac, record_digest = _ask_loader(station, flasher)
    link.reset_board()
    info = link.wait_until_ready(timeout_s=station.settings.boot_timeout_s)
    if loader is Loader.OPEN and chip_mac != info.mac:
        raise FlashError(
            "the application says another MAC than the chip",
            expected=chip_mac.hex(":"),
            got=info.mac.hex(":"),
            where=link.where,
            hint="it does not run a release of this product: put it aside",
        )
    if not info.serial:
        raise SupervisionError(
            "the board has no serial number",
            got=info.mac.hex(":"),
            where=link.where,
            hint="`ampforge station run` gives it one",
        )
    nonce = station.outside.random_bytes(NONCE_BYTES)
    proof = ask_for_proof(
        link,
        expected=ExpectedIdentity(
            serial=info.serial,
            mac=info.mac,
            app_sha256=info.appsha,
            trust=station.trust,
            now=station.outside.now(),
        ),
        nonce=nonce,
    )
    is_locked = loader is not Loader.OPEN
    nvs_plan = efuse_plan = b""
    if is_locked:
        _require_release(station, info, where=link.where)
        nvs_plan = b"" if station.nvs_plan is None else station.nvs_plan.digest
        efuse_plan = _require_locking_plan(station, loader, where=link.where)
    evidence = BoardEvidence(
        ca_der=station.keys.ca_der,
        certificate_der=proof.certificate.der,
        nonce=nonce,
        challenge=proof.signed,
        app_sha256=info.appsha,
        record=link.request(CalibrationReadRequest, CalibrationReadResponse).rec,
        loader=loader,
        key_block=_find_key_block(link) if is_locked else 0,
        nvs_plan=nvs_plan,
        efuse_plan=efuse_plan,
    )
    return evidence, BoardIdentity(
        condition=RecordCondition.PRESENT, serial=info.serial, mac=info.mac, digest=record_digest
    )


def _ask_loader(station: Station, flasher: Flasher) -> tuple[Loader, bytes, bytes]:
    """Return what is left of the loader, and what it tells: MAC and digest of the record."""
    try:
        facts = flasher.detect()
    except LockedChipError:
        return Loader.SECURE, b"", b""
    except FlashError:
        if station.efuse_plan is None or station.efuse_plan.download_mode is not DownloadMode.OFF:
            raise  # an open board whose loader is out of reach is no locked one
        return Loader.SILENT, b"", b""
    return Loader.OPEN, facts.mac, read_identity(station, flasher).digest


def _require_release(station: Station, info: InfoReadResponse, *, where: str) -> None:
    expected = station.bundle.image.image_sha256
    if info.appsha != expected:
        raise LockedChipError(
            "the locked board runs something else than the release",
            expected=f"{station.bundle.statement.version}, {expected.hex()[:16]}",
            got=f"{info.ver}, {info.appsha.hex()[:16]}",
            where=where,
            hint="a locked board is updated as in the field: `ampforge device update`; or use the "
            "bundle that it runs",
        )


def _require_locking_plan(station: Station, loader: Loader, *, where: str) -> bytes:
    """Return the digest of the plan that the board was locked by; the supervisor vouches for it."""
    plan, modes = station.efuse_plan, {
        Loader.SECURE: DownloadMode.SECURE, Loader.SILENT: DownloadMode.OFF
    }  # fmt: skip
    if plan is None or plan.download_mode is not modes[loader]:
        raise LockedChipError(
            "the board is locked otherwise than the eFuse plan says",
            expected="no plan" if plan is None else f'download_mode = "{plan.download_mode}"',
            got=f'download_mode = "{modes[loader]}"',
            where=where,
            hint="set efuses under [station] to the plan that it was locked by",
        )
    return plan.digest


def _find_key_block(link: DeviceLink) -> int:
    """Return the block that encrypts the key storage of a locked board."""
    told = link.request(KeyStorageReadRequest, KeyStorageReadResponse)
    block = told.block if told.enc and told.key is StoredKey.ENCRYPTED else None
    if block is None or block < FIRST_FREE_BLOCK:
        raise SupervisionError(
            "the board's private key does not lie in encrypted storage",
            expected="a key that was made after its storage was encrypted",
            got=f"key {told.key.value}, block {told.block}",
            where=link.where,
            hint="it may have been read by anybody: put the board aside",
        )
    return block


def _require_quarantine(
    station: Station, proved: VerifiedEvidence, identity: BoardIdentity
) -> None:
    """Put the board into quarantine as any fixture would, if it is not there."""
    ledger, mac = station.ledger, proved.mac
    if find_quarantine(ledger, mac) is not None:
        return
    classification = classify_board(mac, identity, view_board(ledger, mac, identity))
    if not classification.is_quarantined and not classification.must_erase_record:
        raise SupervisionError(
            "the ledger knows this board: there is nothing to adopt",
            expected="a board that it lost",
            got=f"{classification.board_class.value}: {classification.reason}",
            where=f"{proved.serial}, {mac.hex(':')}",
            hint="put it into a slot: `ampforge station run`",
        )
    open_quarantine(
        ledger,
        station.writer,
        mac=mac,
        classification=Classification(
            board_class=classification.board_class,
            reason=classification.reason,
            is_quarantined=True,
        ),
        identity=identity,
    )
