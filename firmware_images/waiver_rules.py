"""Which limits a waiver may be given for, and why the others can never be waived.

Implements docs/spec/policy-and-approval.md §8.2; docs/decisions says why. A waiver is somebody's
judgement that a known excess is acceptable, so it exists only where a limit is a judgement.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from firmware_images.limits_finding import CLAIM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_images.limits_finding import Finding

WAIVABLE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        CLAIM: ("PEAK", "µA"),
        "JRMS": ("JRMS", "mA/cm²"),
        "JDC": ("JDC", "mA/cm²"),
        "BALANCE_CHARGE": ("BALANCE", "µC"),
        "BALANCE_CHARGE_SHARE": ("BALANCE", "µC"),
        "BALANCE_DC": ("BALANCE", "µA"),
        "DOSE": ("DOSE", "mA·min"),
        "SLOPE": ("SLOPE", "µA/ms"),
    }
)
"""The limits that can be waived: their key, and the rule and unit of a finding against them."""

_UNITS_ONLY: Final = "only an error of units reaches it at microamps"
NEVER_WAIVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "TICK": "a table that breaks it does not exist",
        "HEADER": "the firmware would enforce other figures than the policy's",
        "MODE": "nobody would know what the mode is to be judged by: name it in the policy",
        "PEAK": "the firmware clamps at this ceiling, whatever anybody signs",
        "PD": _UNITS_ONLY,
        "SHANNON": _UNITS_ONLY,
        "IEC_RMS": _UNITS_ONLY,
        "PULSE_E": _UNITS_ONLY,
        "SESSION": "the firmware stops at it, whatever anybody signs",
        "VC": "a signature does not raise the supply: the output would not be the table's",
    }
)
"""Why a rule cannot be waived; of PEAK this is the ceiling, its claim can be."""


def is_waivable(finding: Finding) -> bool:
    """Whether any waiver could cover this finding."""
    return WAIVABLE.get(finding.limit_key, ("", ""))[0] == finding.rule


def explain_refusal(rule: str) -> str:
    """Why the rule of a finding that is not waivable cannot be waived."""
    return NEVER_WAIVED.get(rule, "a waiver is given only for limits that are a judgement")
