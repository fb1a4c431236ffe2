"""Writes figures as the pages of a report show them: currents, loads, times, probabilities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

_NA_PER_UA: Final = 1_000
_SMALL_PROBABILITY: Final = 1e-9
_PERCENT_FROM: Final = 1e-4
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_INFINITE_OHM: Final = 100_000_000
_DIGITS_MAX: Final = 6


def format_ua(current_na: float, digits: int = 3) -> str:
    """Return a current in microamps, nanoamps given."""
    return f"{current_na / _NA_PER_UA:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def format_signed_ua(current_na: float, digits: int = 3) -> str:
    """Return a current in microamps with its sign, nanoamps given."""
    return f"{current_na / _NA_PER_UA:+z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def digits_of_ua(expanded_na: float) -> int:
    """Return with how many decimals, in µA, an uncertainty has two significant digits.

    A result is stated to the decimals of its uncertainty (JCGM 100 §7.2.6).
    """
    return _digits_of(expanded_na / _NA_PER_UA)


def format_ratio_with_u(value: float, expanded: float) -> str:
    """Return a number without a unit with its U, both to the two digits of the latter."""
    digits = _digits_of(expanded)
    return f"{value:.{digits}f} ± {expanded:.{digits}f}"


def _digits_of(expanded: float) -> int:
    if expanded <= 0:
        return _DIGITS_MAX
    return min(max(1 - math.floor(math.log10(float(f"{expanded:.1e}"))), 0), _DIGITS_MAX)


def format_kohm(ohm: float) -> str:
    """Return a resistance in the unit that suits it, ohms given."""
    if ohm >= _INFINITE_OHM:
        return "> 100 MΩ"
    if ohm < 1_000:  # noqa: PLR2004 - Ω in a kΩ
        return f"{ohm:g} Ω"
    return f"{ohm / 1_000:,.4g} kΩ" if ohm < 1e6 else f"{ohm / 1e6:.3g} MΩ"  # noqa: PLR2004 - Ω in a MΩ


def format_percent(value: float | None) -> str:
    """Return a percentage, or a dash for none."""
    return "-" if value is None else f"{value:.1f} %"


def format_ratio(value: float) -> str:
    """Return an index such as Cpk, or a bound of it."""
    return f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")


def format_time(at: datetime) -> str:
    """Return a moment, which is in UTC, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def format_probability(value: float) -> str:
    """Return a probability as a bound: rounded up, and small ones as a power of ten."""
    if value < _SMALL_PROBABILITY:
        return "below one in 10⁹"
    if value >= _PERCENT_FROM:
        percent = _round_up(100 * value)
        return f"at most {min(percent, 100):g} %"
    mantissa, exponent = f"{_round_up(value):.1e}".split("e")
    return f"at most {mantissa} · 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def _round_up(value: float) -> float:
    """Round to two digits, never down: a bound stays one."""
    rounded = float(f"{value:.1e}")
    if rounded >= value:
        return rounded
    return float(f"{rounded + 10.0 ** (math.floor(math.log10(value)) - 1):.1e}")


def format_short_probability(value: float) -> str:
    """Return a probability as an estimate, for a table."""
    if value < _SMALL_PROBABILITY:
        return "< 10⁻⁹"
    if value >= _PERCENT_FROM:
        return f"{100 * value:.2g} %"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
