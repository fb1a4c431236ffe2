"""Canonical policy bytes back into a policy. Implements docs/spec/policy-and-approval.md §3.

Every device, station and verifier reads these, so no more than the codec is needed for it: the
file that people write is read by `limits`.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from firmware_images.errors import PolicyError
from firmware_images.limits_policy import (
    FORMAT,
    POLICY_BYTES_MAX,
    LimitsPolicy,
    ModeLimits,
    SourcedValue,
    serialize_policy,
)
from firmware_images.waveform import Balance, Regulation
from signing.canonical_cbor import parse_cbor
from signing.errors import CborError
from signing.refusal import refusing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Part = TypeVar("_Part")
_SHOWN_CHARACTERS = 60


def parse_policy(untrusted_bytes: bytes, *, where: object = "limits policy") -> LimitsPolicy:
    """Reads canonical policy bytes.

    Raises:
        PolicyError: When they are not exactly what `serialize_policy` would write.
    """
    try:
        values = parse_cbor(untrusted_bytes, max_bytes=POLICY_BYTES_MAX, max_depth=6)
    except CborError as error:
        raise PolicyError(
            f"not canonical policy bytes: {error.what}",
            expected=error.expected,
            got=error.got,
            where=where,
        ) from error
    with refusing_in(where):
        policy = _read_policy(values)
    if serialize_policy(policy) != untrusted_bytes:
        raise PolicyError(
            "not canonical policy bytes: a figure is written differently, or there is more",
            expected=f"the fields of format {FORMAT}, decimals without trailing zeros",
            got="other bytes",
            where=where,
        )
    return policy


def _read_policy(values: object) -> LimitsPolicy:
    match values:
        case {
            "format": int(number),
            "name": str(name),
            "version": int(version),
            "facts": dict(facts),
            "limits": dict(limits),
            "modes": dict(modes),
        } if not isinstance(version, bool):
            if number != FORMAT:
                raise PolicyError(
                    "a limits policy has a format that is not known here",
                    expected=FORMAT,
                    got=number,
                )
            return LimitsPolicy(
                name=name,
                version=version,
                facts=_read_each(facts, "fact", _read_figure),
                limits=_read_each(limits, "limit", _read_figure),
                modes=_read_each(modes, "mode", _read_mode),
            )
    raise PolicyError(
        "not a limits policy: a field is missing or has a wrong type",
        expected="format, name, version, facts, limits and modes",
        got=_show(sorted(map(str, values)) if isinstance(values, dict) else values),
    )


def _read_each(
    parts: Mapping[object, object], what: str, read: Callable[[object], _Part]
) -> Mapping[str, _Part]:
    found = {}
    for key, part in parts.items():
        if not isinstance(key, str):
            raise PolicyError(f"the name of a {what} is not text", got=_show(key))
        with refusing_in(f"{what} {key[:_SHOWN_CHARACTERS]}"):
            found[key] = read(part)
    return MappingProxyType(found)


def _read_figure(part: object) -> SourcedValue:
    match part:
        case {
            "value": str(text),
            "unit": str(unit),
            "source": str(source),
            "checked_by": str(checked_by),
        }:
            try:
                value = Decimal(text)
            except InvalidOperation as error:
                raise PolicyError("a policy's figure is not a number", got=_show(text)) from error
            return SourcedValue(value=value, unit=unit, source=source, checked_by=checked_by)
    raise PolicyError(
        "a policy's figure lacks a field, or one has a wrong type",
        expected="value, unit, source and checked_by, all of them text",
        got=_show(part),
    )


def _read_mode(part: object) -> ModeLimits:
    match part:
        case {
            "balance": "balanced" | "galvanic" as balance,
            "regulation": "current" | "voltage" as regulation,
            "slope_limited": bool(is_slope_limited),
            "claim": claim,
        }:
            return ModeLimits(
                balance=Balance(balance),
                regulation=Regulation(regulation),
                is_slope_limited=is_slope_limited,
                claim=_read_figure(claim),
            )
    raise PolicyError(
        "a policy's mode lacks a field, or one is not acceptable",
        expected="balance: balanced or galvanic; regulation: current or voltage; "
        "slope_limited: true or false; claim",
        got=_show(part),
    )


def _show(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
