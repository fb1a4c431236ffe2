"""Judges what a board says about itself, step by step; the result is a list of reasons.

An empty list is good. Nothing here talks to a board, and nothing here measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from firmware_images.calibration_record import verify_calibration_record
from firmware_images.errors import FirmwareImageError
from firmware_images.waveform_table import table_digest
from provisioning.ledger_values import UnitState
from provisioning.replay_comparison import RESULT_KEY
from provisioning.uncertainty import Outcome
from provisioning.verification_result import parse_verification_result
from signing.errors import SigningError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from firmware_images.bundle import Bundle
    from provisioning.calibration_result import CalibrationResult
    from provisioning.link_messages import InfoReadResponse
    from provisioning.link_release import ReleaseReadResponse
    from provisioning.verification_result import VerificationResult
    from signing.trust import TrustRecord


def judge_handshake(
    info: InfoReadResponse, *, bundle: Bundle, mac: bytes, serial: str
) -> tuple[str, ...]:
    """Judge the first answer of a freshly flashed board.

    Args:
        info: What the application says.
        bundle: The release that was flashed.
        mac: MAC that the ROM loader read from the chip.
        serial: Serial number that was reserved for it.

    Returns:
        What is wrong, one sentence each.
    """
    statement = bundle.statement
    first, last = statement.hardware_revision_min, statement.hardware_revision_max
    wanted = (
        ("product", statement.product, info.product),
        ("hardware class", statement.hardware_class, info.hwclass),
        ("MAC", mac.hex(":"), info.mac.hex(":")),
        ("application digest", bundle.image.image_sha256.hex(), info.appsha.hex()),
        ("running slot", 0, info.slot),
    )
    reasons = [
        f"the application reports {name} {got}, expected {expected}"
        for name, expected, got in wanted
        if expected != got
    ]
    if not first <= info.hwrev <= last:
        reasons.append(
            f"the release is for board revisions {first} to {last}, this is {info.hwrev}"
        )
    if info.serial not in {"", serial}:
        reasons.append(f"the board already has the serial number {info.serial}, expected {serial}")
    return tuple(reasons)


def judge_restart(
    info: InfoReadResponse, *, bundle: Bundle, mac: bytes, serial: str
) -> tuple[str, ...]:
    """Judge what a board says of itself after the power cycle: everything must have stayed."""
    reasons = list(judge_handshake(info, bundle=bundle, mac=mac, serial=serial))
    if not info.serial:
        reasons.append("the board forgot its serial number over the power cycle")
    if info.calgen == 0:
        reasons.append("the board has no valid calibration record after the power cycle")
    if info.tabsha != table_digest(bundle.table_bytes):
        reasons.append("the board does not use the waveform table of the release")
    return tuple(reasons)


def judge_release_floor(floor: ReleaseReadResponse, *, bundle: Bundle) -> tuple[str, ...]:
    """Judge below which release a board never goes: exactly the one that it was given."""
    statement = bundle.statement
    reasons = []
    for name, expected, got in (
        ("release counter", statement.release_counter, floor.counter),
        ("policy version", statement.policy_version, floor.policy),
    ):
        if got > expected:
            reasons.append(
                f"the board had a newer release before: its {name} is {got}, the bundle's "
                f"{expected}; provision it with the newest release"
            )
        elif got < expected:
            reasons.append(f"the board keeps {name} {got}, expected {expected}")
    return tuple(reasons)


def judge_record(
    stored: bytes, *, written: bytes, trust: TrustRecord, now: dt.datetime, serial: str, mac: bytes
) -> tuple[str, ...]:
    """Judge the calibration record that was read back: it decides whatever is measured.

    Args:
        stored: What the board holds.
        written: What the station wrote.
        trust: Names the factory CA, and the stations that no longer count.
        now: The present, aware.
        serial: Serial number of the unit.
        mac: Its MAC.
    """
    if not stored:
        return ("the board has no calibration record",)
    try:
        record = verify_calibration_record(
            stored,
            trust.factory_ca_der,
            now=now,
            serial=serial,
            mac=mac,
            revoked_key_ids=trust.revoked_key_ids,
        )
    except (SigningError, FirmwareImageError) as error:
        return (f"the board's calibration record does not verify: {error}",)
    if record.is_identity:
        return ("the board's calibration record corrects nothing",)
    if stored != written:
        return ("the board holds another calibration record than the one it was given",)
    return ()


def judge_calibration(result: CalibrationResult) -> tuple[str, ...]:
    """Return the findings of a calibration as sentences."""
    return tuple(finding.message for finding in result.findings)


def judge_verification(result: VerificationResult) -> tuple[UnitState, tuple[str, ...]]:
    """Return where a unit stands after its verification, and why it did not pass."""
    match result.outcome:
        case Outcome.PASS:
            state = UnitState.PASS
        case Outcome.CONDITIONAL_PASS:
            state = UnitState.CONDITIONAL_PASS
        case Outcome.CONDITIONAL_FAIL:
            state = UnitState.CONDITIONAL_FAIL
        case Outcome.FAIL:
            state = UnitState.FAIL
        case _:
            assert_never(result.outcome)
    return state, result.reasons


def judge_recheck(confirmed: Mapping[str, object]) -> tuple[UnitState, tuple[str, ...]]:
    """Return where a unit stands after the current that was read behind the locks, and why.

    Args:
        confirmed: What the CONFIRM says. An older Ampforge wrote down what was right alone, and no
            result.

    Raises:
        VerificationError: The stored result cannot be read.
    """
    if RESULT_KEY not in confirmed:
        return UnitState.PASS, ()
    return judge_verification(parse_verification_result(confirmed[RESULT_KEY]))
