"""The limits policy: what a table may do to a person, and where each figure comes from.

Quality writes it in TOML, signs its canonical bytes, and approves tables that keep to it. The
digest of those bytes is in every table. What this module does not do: read files (`limits`), or
judge (`limits_judging`). Implements docs/spec/policy-and-approval.md §2 and §3.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from firmware_images.errors import PolicyError
from signing.canonical_cbor import serialize_cbor
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.waveform import Balance, Regulation

FORMAT: Final = 1
POLICY_BYTES_MAX: Final = 48 * 1024
POLICY_CONTENT_TYPE: Final = "application/vnd.ampforge.limits-policy+cbor"
VALUE_MAX: Final = Decimal(1_000_000_000)
VALUE_DECIMALS_MAX: Final = 6
TEXT_CHARACTERS_MAX: Final = 300
NAME_CHARACTERS_MAX: Final = 64
VERSION_MAX: Final = 0xFFFF_FFFF

FACT_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CONTACT_AREA": "cm2",
        "GAIN_TOLERANCE": "%",
        "RESIDUAL_OFFSET": "uA",
        "OFFSET_DRIFT": "uA",
        "COMPLIANCE": "V",
        "SOURCE_RESISTANCE": "ohm",
    }
)
"""What the judging assumes about the hardware, and the unit that the file must state."""

LIMIT_UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PEAK": "uA",
        "JRMS": "mA/cm2",
        "JDC": "mA/cm2",
        "BALANCE_DC": "uA",
        "BALANCE_CHARGE_SHARE": "%",
        "BALANCE_CHARGE": "uC",
        "DOSE": "mA*min",
        "PD": "W/cm2",
        "SHANNON": "log10(uC2/cm2)",
        "IEC_RMS_DC": "mA",
        "IEC_RMS_400HZ": "mA",
        "IEC_RMS_1500HZ": "mA",
        "IEC_RMS_ABOVE": "mA",
        "PULSE_E": "mJ",
        "PULSE_V": "V",
        "SLOPE": "uA/ms",
        "SESSION": "s",
        "VC_LOAD": "ohm",
    }
)
"""Every limit that a policy must give, none optional, and the unit that the file must state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedValue:
    """A figure with its origin.

    Args:
        value: Zero or more, at most six decimals, in `unit`.
        unit: As in `FACT_UNITS` and `LIMIT_UNITS`.
        source: The standard, guidance or reasoning it comes from.
        checked_by: Who compared it with that source, or that nobody has yet.
    """

    value: Decimal
    unit: str
    source: str
    checked_by: str

    def __post_init__(self) -> None:
        exponent = self.value.as_tuple().exponent
        if (
            not isinstance(exponent, int)
            or exponent < -VALUE_DECIMALS_MAX
            or not 0 <= self.value <= VALUE_MAX
        ):
            raise PolicyError(
                "a policy's figure is out of range",
                expected=f"0 to {VALUE_MAX} with at most {VALUE_DECIMALS_MAX} decimals",
                got=self.value,
            )
        for name, text in (("source", self.source), ("checked_by", self.checked_by)):
            if not text.strip() or len(text) > TEXT_CHARACTERS_MAX:
                raise PolicyError(
                    f"a policy's figure must state its {name}",
                    expected=f"1 to {TEXT_CHARACTERS_MAX} characters",
                    got=f"{len(text)} characters",
                )

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeLimits:
    """What the policy says of one mode. A mode that it does not name may not be compiled.

    Args:
        balance: Whether each pulse must return its charge; a table cannot choose otherwise.
        regulation: What the output stage must hold constant.
        is_slope_limited: Whether rule SLOPE applies.
        claim: The highest peak that the labelling claims, µA.
    """

    balance: Balance
    regulation: Regulation
    is_slope_limited: bool
    claim: SourcedValue


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsPolicy:
    """One version of the limits.

    Args:
        name: Whose limits, such as `flare-limits`.
        version: Rises with every change; the trust record states the least that is accepted.
        facts: One value for each key of `FACT_UNITS`.
        limits: One value for each key of `LIMIT_UNITS`.
        modes: By mode name.
    """

    name: str
    version: int
    facts: Mapping[str, SourcedValue]
    limits: Mapping[str, SourcedValue]
    modes: Mapping[str, ModeLimits]

    def __post_init__(self) -> None:
        if not 1 <= self.version <= VERSION_MAX:
            raise PolicyError(
                "a policy's version is out of range",
                expected=f"1 to {VERSION_MAX}",
                got=self.version,
            )
        if not self.name.strip() or len(self.name) > NAME_CHARACTERS_MAX or not self.modes:
            raise PolicyError(
                "a policy must have a name and at least one mode",
                expected=f"1 to {NAME_CHARACTERS_MAX} characters, 1 mode or more",
                got=f"{len(self.name)} characters, {len(self.modes)} modes",
            )
        for what, given, units in (
            ("fact", self.facts, FACT_UNITS),
            ("limit", self.limits, LIMIT_UNITS),
        ):
            if given.keys() != units.keys():
                missing = sorted(units.keys() - given.keys())
                unknown = sorted(given.keys() - units.keys())
                raise PolicyError(
                    f"a policy must state every {what}, and no other",
                    expected=", ".join(units),
                    got=f"missing {missing}, unknown {unknown}",
                )
            for key, sourced in given.items():
                if sourced.unit != units[key]:
                    raise PolicyError(
                        "a policy's figure has the wrong unit",
                        expected=units[key],
                        got=sourced.unit,
                        where=f"{what} {key}",
                    )
        for name, mode in self.modes.items():
            if mode.claim.unit != "uA":
                raise PolicyError(
                    "a claim has the wrong unit",
                    expected="uA",
                    got=mode.claim.unit,
                    where=f"mode {name}",
                )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes: what tables and approvals name this policy by."""
        return hashlib.sha256(serialize_policy(self)).digest()

    @property
    def contact_area_mm2(self) -> int:
        """The smallest contact area, whole mm²."""
        return self._whole(self.facts["CONTACT_AREA"], 100, "CONTACT_AREA", "mm²")

    @property
    def clamp_na(self) -> int:
        """The absolute peak that the firmware enforces, nanoamps."""
        return self._whole(self.limits["PEAK"], 1000, "PEAK", "nA")

    @property
    def hard_stop_us(self) -> int:
        """When the firmware stops in any mode, microseconds."""
        return self._whole(self.limits["SESSION"], 1_000_000, "SESSION", "µs")

    @staticmethod
    def _whole(sourced: SourcedValue, scale: int, key: str, unit: str) -> int:
        scaled = sourced.value * scale
        if scaled != scaled.to_integral_value() or scaled < 1:
            raise PolicyError(
                "a policy's figure cannot be written into a table",
                expected=f"a whole number of {unit}, at least 1",
                got=f"{sourced.value} {sourced.unit}",
                where=key,
            )
        return int(scaled)


def serialize_policy(policy: LimitsPolicy) -> bytes:
    """The canonical bytes. Implements docs/spec/policy-and-approval.md §3.

    Figures are decimal text without exponent or trailing zeros: exact, and no floating point.
    """
    return serialize_cbor(
        {
            "format": FORMAT,
            "name": policy.name,
            "version": policy.version,
            "facts": {key: _plain(sourced) for key, sourced in policy.facts.items()},
            "limits": {key: _plain(sourced) for key, sourced in policy.limits.items()},
            "modes": {
                name: {
                    "balance": str(mode.balance),
                    "regulation": str(mode.regulation),
                    "slope_limited": mode.is_slope_limited,
                    "claim": _plain(mode.claim),
                }
                for name, mode in policy.modes.items()
            },
        }
    )


def format_value(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: the one canonical text."""
    return format(value.normalize(), "f") if value else "0"


def _plain(sourced: SourcedValue) -> dict[str, str]:
    return {
        "value": format_value(sourced.value),
        "unit": sourced.unit,
        "source": sourced.source,
        "checked_by": sourced.checked_by,
    }
