"""A small release that is right in every part, for tests to take one thing away from."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import MappingProxyType

from firmware_images.approval import build_approval, sign_approval
from firmware_images.bundle_building import BundleInputs
from firmware_images.delta_format import PatchCompression, PatchEncoding
from firmware_images.limits_policy import (
    FACT_UNITS,
    LIMIT_UNITS,
    LimitsPolicy,
    ModeLimits,
    SourcedValue,
    serialize_policy,
)
from firmware_images.partitions import load_partition_table
from firmware_images.waiver import LimitWaiver, sign_waiver
from firmware_images.waiver_judging import WaiverRequest, build_waiver
from firmware_images.waveform import (
    Balance,
    Level,
    Mode,
    Regulation,
    Segment,
    WaveformTable,
)
from firmware_images.waveform_table import serialize_waveform_table
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from signing.trust import Role, RoleKeys, TrustRecord

ISSUED = datetime(2026, 6, 1, tzinfo=UTC)

ROOT = Path(__file__).parents[2]
FLARE = ROOT / "examples" / "flare"
APP_1_4_0 = FLARE / "firmware" / "images" / "flare-1.4.0.bin"
APP_1_5_0 = FLARE / "firmware" / "images" / "flare-1.5.0.bin"
FOREIGN_APP = ROOT / "tests" / "assets" / "foreign" / "hello-1.0.0.bin"
HEATSHRINK = PatchEncoding(compression=PatchCompression.HEATSHRINK, window_bits=8, lookahead_bits=7)

_FACTS = {
    "CONTACT_AREA": "0.5",
    "GAIN_TOLERANCE": "1",
    "RESIDUAL_OFFSET": "2",
    "OFFSET_DRIFT": "0.5",
    "COMPLIANCE": "12",
    "SOURCE_RESISTANCE": "0",
}
_LIMITS = {
    "PEAK": "600",
    "JRMS": "2",
    "JDC": "0.5",
    "BALANCE_DC": "5",
    "BALANCE_CHARGE_SHARE": "1",
    "BALANCE_CHARGE": "0.01",
    "DOSE": "1",
    "PD": "0.25",
    "SHANNON": "1.85",
    "IEC_RMS_DC": "80",
    "IEC_RMS_400HZ": "50",
    "IEC_RMS_1500HZ": "80",
    "IEC_RMS_ABOVE": "100",
    "PULSE_E": "300",
    "PULSE_V": "500",
    "SLOPE": "100",
    "SESSION": "1200",
    "VC_LOAD": "10000",
}


@cache
def signer(name: str) -> SoftwareSigner:
    """A key that lives as long as the test process; one name is one key."""
    algorithm = Algorithm.ED25519 if name.endswith("ed") else Algorithm.ECDSA_P256
    return SoftwareSigner.generate(algorithm)


def role_keys(threshold: int, *names: str) -> RoleKeys:
    return RoleKeys(threshold=threshold, keys=tuple(signer(name).public_key for name in names))


def build_trust(
    *,
    product: str = "flare",
    minimum_policy_version: int = 1,
    release_threshold: int = 2,
    revoked: tuple[str, ...] = (),
) -> TrustRecord:
    return TrustRecord(
        product=product,
        version=1,
        roles={
            Role.ROOT: role_keys(1, "root-1", "root-2"),
            Role.POLICY: role_keys(1, "policy-1"),
            Role.RELEASE: role_keys(release_threshold, "release-1", "release-2-ed", "release-3"),
        },
        minimum_policy_version=minimum_policy_version,
        revoked_key_ids=frozenset(signer(name).public_key.key_id for name in revoked),
    )


def build_policy(*, version: int = 1, peak_ua: int = 600) -> LimitsPolicy:
    def sourced(value: str, unit: str) -> SourcedValue:
        return SourcedValue(
            value=Decimal(value), unit=unit, source="a test", checked_by="nobody yet"
        )

    limits = _LIMITS | {"PEAK": str(peak_ua)}
    return LimitsPolicy(
        name="test-limits",
        version=version,
        facts=MappingProxyType({k: sourced(v, FACT_UNITS[k]) for k, v in _FACTS.items()}),
        limits=MappingProxyType({k: sourced(v, LIMIT_UNITS[k]) for k, v in limits.items()}),
        modes=MappingProxyType(
            {
                "PULSE": ModeLimits(
                    balance=Balance.BALANCED,
                    regulation=Regulation.CURRENT,
                    is_slope_limited=False,
                    claim=sourced("250", "uA"),
                )
            }
        ),
    )


def build_table(
    policy: LimitsPolicy, *, hardware_class: str = "flare-c3", peak_na: int = 100_000
) -> WaveformTable:
    def level(level_na: int) -> Level:
        return Level(
            peak_na=level_na,
            segments=(
                Segment(duration_ticks=20, start_na=level_na, end_na=level_na),
                Segment(duration_ticks=5, start_na=0, end_na=0),
                Segment(duration_ticks=20, start_na=-level_na, end_na=-level_na),
                Segment(duration_ticks=288, start_na=0, end_na=0),
            ),
        )

    return WaveformTable(
        hardware_class=hardware_class,
        tick_us=100,
        clamp_na=policy.clamp_na,
        hard_stop_ticks=policy.hard_stop_us // 100,
        contact_area_mm2=policy.contact_area_mm2,
        policy_digest=policy.digest,
        policy_version=policy.version,
        modes=(
            Mode(
                name="PULSE",
                balance=Balance.BALANCED,
                regulation=Regulation.CURRENT,
                levels=(level(peak_na // 2), level(peak_na)),
                pulses_per_burst=60,
                burst_off_ticks=9990,
                flips_each_burst=True,
                session_ticks=3_000_000,
            ),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseParts:
    """Everything that `inputs` needs, so that a test can replace one part."""

    app: bytes
    policy: bytes
    table: bytes
    approval: bytes


def build_parts(
    *,
    app: Path = APP_1_4_0,
    policy_version: int = 1,
    hardware_class: str = "flare-c3",
    peak_na: int = 100_000,
    approver: str = "policy-1",
) -> ReleaseParts:
    policy = build_policy(version=policy_version)
    table = serialize_waveform_table(
        build_table(policy, hardware_class=hardware_class, peak_na=peak_na)
    )
    return ReleaseParts(
        app=app.read_bytes(),
        policy=serialize_policy(policy),
        table=table,
        approval=sign_approval(build_approval(table), [signer(approver)]),
    )


def build_inputs(parts: ReleaseParts | None = None, **changes: object) -> BundleInputs:
    parts = parts or build_parts()
    values: dict[str, object] = {
        "product": "flare",
        "release_counter": 1,
        "hardware_class": "flare-c3",
        "hardware_revision_min": 1,
        "hardware_revision_max": 2,
        "chip": "esp32c3",
        "flash_size_bytes": 4 * 1024 * 1024,
        "app": parts.app,
        "table": parts.table,
        "approval": parts.approval,
        "policy": parts.policy,
        "partition_table": load_partition_table(FLARE / "partitions.csv"),
    }
    return BundleInputs(**(values | changes))


def build_claim_waiver(
    table: bytes, policy: LimitsPolicy | None = None, *, issued_at: datetime = ISSUED
) -> LimitWaiver:
    """A waiver of the claim that level 2 of a table with a peak of 300 µA is above."""
    return build_waiver(
        table,
        policy or build_policy(),
        WaiverRequest(
            name="PEAK",
            mode="PULSE",
            level=2,
            reason="trial lot 7",
            requested_by="R. Engineer",
            issued_at=issued_at,
            expires_at=issued_at + timedelta(days=200),
        ),
    )


def with_secure_version(image: bytes, secure_version: int) -> bytes:
    """The image as it would be built with another secure version; checksum and digest follow."""
    at = image.index(struct.pack("<I", 0xABCD5432)) + 4
    changed = image[:at] + struct.pack("<I", secure_version) + image[at + 4 : -33]
    checksum = image[-33]
    for before, after in zip(image[at : at + 4], changed[at : at + 4], strict=True):
        checksum ^= before ^ after
    changed += bytes([checksum])
    return changed + hashlib.sha256(changed).digest()


def build_waived_inputs(
    *, issued_at: datetime = ISSUED, signed_by: str = "policy-1", **changes: object
) -> BundleInputs:
    """A release that is above its claim, and whose approval says that this is waived."""
    parts = build_parts(peak_na=300_000)
    waiver = build_claim_waiver(parts.table, issued_at=issued_at)
    approval = sign_approval(build_approval(parts.table, [waiver]), [signer("policy-1")])
    signed = sign_waiver(waiver, [signer(signed_by)])
    return build_inputs(replace(parts, approval=approval), **({"waivers": (signed,)} | changes))
