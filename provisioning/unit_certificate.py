"""Collects what the certificate of one unit states, from its record alone.

The record is judged again first: a number that its readings do not give is on no certificate. The
board's calibration record is verified with the factory CA, which tells who signed. Nothing in here
depends on when or where the certificate is made, so the same record gives the same certificate.
Implements docs/spec/calibration.md §9.2. How it looks is `reports` and its template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from firmware_images.calibration_record import verify_signed_record
from firmware_images.waiver_text import format_waiver
from provisioning.errors import ReportError
from provisioning.ledger_events import Phase
from provisioning.ledger_values import UnitState
from provisioning.measurement_settings import ONE_SIDED_95_SIGMAS, CoverageRule, DecisionRule
from provisioning.report_figures import RiskFigures, build_risk_figures, point_risk
from provisioning.station_values import Step
from provisioning.uncertainty import COVERAGE_FACTOR, Outcome, normal_cdf, worst_outcome
from provisioning.unit_records import read_result_pair
from provisioning.unit_replay import replay_events
from provisioning.unit_udi import LOT_KEY, find_udi

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from provisioning.calibration_result import CalibrationResult
    from provisioning.ledger_events import Event
    from provisioning.measurement_settings import MetrologySettings
    from provisioning.unit_events import UnitEvents
    from provisioning.verification_result import PointResult, VerificationResult

ROWS_MAX: Final = 14
"""More levels than these do not fit one page: of each mode the lowest, middle and highest stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One level of one mode, in both polarities, at the reference load and over all loads.

    Attributes:
        mode: Name of the mode; empty for the idle current.
        level: Level, from 1; 0 for the idle current.
        target_na: Size of the current that is asked for, nA.
        readings: At the reference load, the positive polarity first.
        limit_na: Deciding limit there, nA.
        expanded_na: Largest U of these readings, nA.
        test_uncertainty_ratio: Smallest limit/U of these readings.
        risk: Largest probability that one of them is outside its limit.
        claimed: The point of all loads that used most of the claim limit.
        outcome: Worst outcome of all points of the level.
    """

    mode: str
    level: int
    target_na: int
    readings: tuple[PointResult, ...]
    limit_na: float
    expanded_na: float
    test_uncertainty_ratio: float
    risk: float
    claimed: PointResult
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who signed the record that the unit carries.

    Attributes:
        station: Name in the station's certificate.
        key_id: Id of its key, hex.
        generation: Which record of the unit it is, from 1.
    """

    station: str
    key_id: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """An event of the ledger that the certificate rests on.

    Attributes:
        step: Its step.
        station: Whose chain it is in.
        number: Its number there.
        hash: Hash of its link, hex.
    """

    step: str
    station: str
    number: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCertificate:
    """Everything on the certificate of one unit.

    Attributes:
        number: Serial number and number of the job: one certificate for each verdict.
        serial: Serial number.
        mac: Chip MAC as text.
        udi: Identification as people read it, or `None`.
        lot: Lot, or `None`.
        verdict: Outcome of the job, such as PASS.
        reasons: Why it is not PASS.
        statement: The statement of conformity.
        decided_at: When the verdict was written down.
        firmware_version: Version of the release.
        bundle: SHA-256 of the release, hex.
        waivers: A line for each limit that was waived.
        calibration: The calibration.
        verification: The verification.
        certificate_due: Last day of the instrument's certificate, if the settings name it.
        rows: Levels, at most `ROWS_MAX`, and the idle current.
        omitted_count: Levels that are not shown.
        risk: Probabilities of false accept.
        coverage: Which coverage factors its expanded uncertainties have.
        signature: Who signed the unit's record.
        ledger_uuid: UUID of the ledger.
        anchors: Its events behind the certificate.
        replayed_count: Values that were computed again and agreed.
    """

    number: str
    serial: str
    mac: str
    udi: str | None
    lot: str | None
    verdict: str
    reasons: tuple[str, ...]
    statement: str
    decided_at: dt.datetime
    firmware_version: str
    bundle: str
    waivers: tuple[str, ...]
    calibration: CalibrationResult
    verification: VerificationResult
    certificate_due: dt.date | None
    rows: tuple[LevelRow, ...]
    omitted_count: int
    risk: RiskFigures
    coverage: str
    signature: Signature
    ledger_uuid: str
    anchors: tuple[Anchor, ...]
    replayed_count: int


def build_certificate(record: UnitEvents, ca_der: bytes, *, where: str) -> UnitCertificate:
    """Return the certificate of a unit.

    Args:
        record: Its events, from the ledger or from a verified export.
        ca_der: Certificate of the factory CA, trusted.
        where: What to name in an error.

    Raises:
        ReportError: There is no verdict on a verification, or the record does not agree with its
            own readings, or the unit was sent back since.
        ProvisioningError: A stored result cannot be read.
        FirmwareImageError: The board's record cannot be read, or is another board's.
        SigningError: Its signature does not verify.
    """
    places = _find_places(record)
    if isinstance(places, str):
        raise ReportError(
            "there is nothing to certify",
            expected="a unit whose last measurement has its verdict",
            got=places,
            where=where,
            hint="finish the unit with `ampforge station run`; `ampforge unit show` says where it "
            "is",
        )
    calibration, verification = read_result_pair(record.events)
    assert calibration is not None, "its event is there"
    assert verification is not None, "its event is there"
    final = record.events[places[-1]]
    replayed = replay_events(record.events, where=where)
    if any(result.differences for result in replayed):
        raise ReportError(
            "the record does not agree with its own readings",
            expected="every number as the readings give it",
            got=f"{sum(len(result.differences) for result in replayed)} others",
            where=where,
            hint="`ampforge unit replay` names them; a certificate would repeat them",
        )
    rows, omitted_count = build_rows(verification)
    serial, mac = final.serial or "", final.mac or b""
    udi = find_udi(record.events)
    waivers = final.data.get("waivers")
    return UnitCertificate(
        number=f"{serial}-{_job_number(record.events, final)}",
        serial=serial,
        mac=mac.hex(":"),
        udi=None if udi is None else udi.human_readable,
        lot=_text(final, LOT_KEY),
        verdict=str(final.data.get("outcome")).upper().replace("-", "_"),
        reasons=_texts(final.data.get("reasons")),
        statement=_state(final, verification),
        decided_at=final.at,
        firmware_version=_text(final, "firmware_version") or "unknown",
        bundle=_text(final, "bundle") or "unknown",
        # As of when the unit was made: that is what its record says, now and for good.
        waivers=tuple(
            format_waiver(waiver, now=None)
            for waiver in (waivers if isinstance(waivers, list) else ())
        ),
        calibration=calibration,
        verification=verification,
        certificate_due=_find_due(verification),
        rows=rows,
        omitted_count=omitted_count,
        risk=build_risk_figures(verification),
        coverage=_state_coverage(verification),
        signature=_verify_signature(record.events[places[1]], ca_der, serial=serial, mac=mac),
        ledger_uuid=record.ledger_uuid,
        anchors=tuple(
            Anchor(
                step=record.events[place].step,
                station=record.events[place].station,
                number=record.events[place].number,
                hash=record.hashes[place],
            )
            for place in places
        ),
        replayed_count=sum(result.value_count for result in replayed),
    )


def is_certifiable(record: UnitEvents) -> bool:
    """Whether a unit has a verdict on its last measurement, so that there is what to certify."""
    return not isinstance(_find_places(record), str)


def _find_places(record: UnitEvents) -> list[int] | str:
    """Return where calibration, record, verification and verdict are, or what is there instead."""
    confirmed = {
        event.step: index
        for index, event in enumerate(record.events)
        if event.phase is Phase.CONFIRM
    }
    steps = (Step.CALIBRATE, Step.RECORD, Step.VERIFY, Step.FINAL)
    places = [confirmed[step.value] for step in steps if step.value in confirmed]
    if len(places) < len(steps):
        return "no verdict on a verification"
    if places != sorted(places):
        return "a verdict from before the last measurement"
    if len({record.events[place].job for place in places}) > 1:
        return "a verdict of a later job, which did not measure"
    if any(event.data.get("sends_back") is True for event in record.events[places[-1] :]):
        return "a supervisor's order that sent the unit back"
    return places


def build_rows(verification: VerificationResult) -> tuple[tuple[LevelRow, ...], int]:
    """Return the levels that a certificate shows, idle last, and how many it leaves out."""
    levels: dict[tuple[str, int], list[PointResult]] = {}
    for point in verification.points:
        levels.setdefault((point.mode, point.level_index), []).append(point)
    order = {mode: index for index, mode in enumerate(w.mode for w in verification.waveforms)}
    rows = [
        _build_row(mode, level_index + 1, levels[mode, level_index])
        for mode, level_index in sorted(
            levels, key=lambda key: (order.get(key[0], len(order)), key[0], key[1])
        )
    ]
    shown = rows if len(rows) <= ROWS_MAX else _choose_rows(rows)
    idle = (_build_row("", 0, verification.idle),) if verification.idle else ()
    return (*shown, *idle), len(rows) - len(shown)


def _choose_rows(rows: Sequence[LevelRow]) -> list[LevelRow]:
    """Return of each mode lowest, middle and highest level; of more modes, each one's worst."""
    chosen = []
    for mode in dict.fromkeys(row.mode for row in rows):
        own = [row for row in rows if row.mode == mode]
        chosen += [own[place] for place in sorted({0, len(own) // 2, len(own) - 1})]
    if len(chosen) <= ROWS_MAX:
        return chosen
    worst: dict[str, LevelRow] = {}
    for row in rows:
        known = worst.setdefault(row.mode, row)
        if row.risk > known.risk:
            worst[row.mode] = row
    return sorted(worst.values(), key=lambda row: -row.risk)[:ROWS_MAX]


def _build_row(mode: str, level: int, points: Sequence[PointResult]) -> LevelRow:
    at_reference = [point for point in points if point.calibration_limit_na is not None]
    readings = sorted(at_reference or points[:1], key=lambda point: -point.target_na)
    return LevelRow(
        mode=mode,
        level=level,
        target_na=abs(readings[0].target_na),
        readings=tuple(readings),
        limit_na=readings[0].deciding_limit_na,
        expanded_na=max(point.expanded_uncertainty_na for point in readings),
        test_uncertainty_ratio=min(point.test_uncertainty_ratio for point in readings),
        risk=max(point_risk(point) for point in points),
        claimed=max(points, key=lambda point: abs(point.error_na) / point.claim_limit_na),
        outcome=worst_outcome(point.outcome for point in points),
    )


def _state(final: Event, verification: VerificationResult) -> str:
    settings = verification.settings
    # k is never less than that of infinite degrees of freedom, so that this bounds the risk.
    risk = normal_cdf(-settings.guard_share(COVERAGE_FACTOR) * COVERAGE_FACTOR)
    rule = f"{_state_rule(settings)}, U = k·u with {_state_coverage(verification)}. "
    if final.data.get("outcome") == UnitState.PASS.value:
        return (
            f"{rule}PASS: every measured error lies within its acceptance limit. The specific risk "
            f"of a false accept is at most {100 * risk:.1f} % for any one point."
        )
    match verification.outcome:
        case Outcome.PASS:
            return (
                f"{rule}PASS for all that was measured; the unit did not pass for the reasons "
                "stated, and no conformity of the unit is stated."
            )
        case Outcome.CONDITIONAL_PASS:
            return (
                f"{rule}CONDITIONAL PASS: every measured error lies within its tolerance limit, "
                "but not every one within its acceptance limit. The risk of a false accept is at "
                "most 50 % for any one point. Not released without a signed disposition."
            )
        case Outcome.CONDITIONAL_FAIL:
            return (
                f"{rule}CONDITIONAL FAIL: a measured error lies beyond its tolerance limit by not "
                "more than the guard band. The risk of a false reject is at most 50 %."
            )
        case Outcome.FAIL:
            return (
                f"{rule}FAIL: a measured error lies beyond its tolerance limit by more than the "
                f"guard band, or a check without one failed. The risk of a false reject is at most "
                f"{100 * risk:.1f} % where a point decided."
            )


def _state_rule(settings: MetrologySettings) -> str:
    accepted = "acceptance limit = tolerance limit"
    match settings.decision_rule:
        case DecisionRule.SIMPLE:
            return f"Simple acceptance, ILAC-G8:09/2019: {accepted}, w = 0"
        case DecisionRule.ILAC_G8:
            return (
                f"Non-binary decision rule with guard band, ILAC-G8:09/2019: {accepted} "
                f"\N{MINUS SIGN} w, w = {settings.guard_factor:g}·U"
            )
        case DecisionRule.ONE_SIDED_95:
            return (
                f"Non-binary decision rule with guard band, JCGM 106:2012: {accepted} "
                f"\N{MINUS SIGN} w, w = {ONE_SIDED_95_SIGMAS:g}·u"
            )
        case _:
            assert_never(settings.decision_rule)


def _state_coverage(verification: VerificationResult) -> str:
    """Say which coverage factors the expanded uncertainties of a verification have."""
    if verification.settings.coverage is CoverageRule.TWO:
        return f"k = {COVERAGE_FACTOR:g}"
    factors = [
        point.budget.coverage_factor
        for point in (*verification.points, *verification.idle)
        if point.budget is not None
    ]
    span = "k"
    if factors:
        least, most = f"{min(factors):.2f}", f"{max(factors):.2f}"
        span = f"k = {least}" if least == most else f"k = {least} to {most}"
    return f"{span} for 95.45 %, Student's t"


def _verify_signature(event: Event, ca_der: bytes, *, serial: str, mac: bytes) -> Signature:
    # What a station signed while it was trusted stays valid (docs/spec/trust.md §8).
    record, certificate = verify_signed_record(
        bytes.fromhex(str(event.data.get("stored"))),
        ca_der,
        now=event.at,
        serial=serial,
        mac=mac,
        revoked_key_ids=(),
    )
    return Signature(
        station=certificate.common_name,
        key_id=certificate.public_key.key_id.hex(),
        generation=record.generation,
    )


def _find_due(verification: VerificationResult) -> dt.date | None:
    for entry in verification.settings.instruments:
        if entry.serial_number == verification.instrument.serial_number:
            return entry.due
    return None


def _job_number(events: Sequence[Event], final: Event) -> int:
    jobs = list(dict.fromkeys(event.job for event in events if event.job is not None))
    return 1 + jobs.index(final.job or "")


def _text(event: Event, key: str) -> str | None:
    value = event.data.get(key)
    return None if value is None else str(value)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
