"""What the range of n normal values says about their standard deviation.

For n independent normal values with standard deviation 1, d2 is the mean of their range and d3 its
standard deviation. The tests compute both again by integration.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

D2_D3: Final = {
    2: (1.128379, 0.852502),
    3: (1.692569, 0.888368),
    4: (2.058751, 0.879808),
    5: (2.325929, 0.864082),
    6: (2.534413, 0.848040),
    7: (2.704357, 0.833205),
    8: (2.847201, 0.819831),
    9: (2.970026, 0.807834),
    10: (3.077505, 0.797051),
    11: (3.172873, 0.787315),
    12: (3.258455, 0.778478),
    13: (3.335980, 0.770416),
    14: (3.406763, 0.763023),
    15: (3.471827, 0.756211),
    16: (3.531983, 0.749908),
    17: (3.587884, 0.744052),
    18: (3.640064, 0.738591),
    19: (3.688963, 0.733481),
    20: (3.734950, 0.728686),
    21: (3.778336, 0.724173),
    22: (3.819385, 0.719915),
    23: (3.858323, 0.715887),
    24: (3.895348, 0.712068),
    25: (3.930629, 0.708441),
}
SAMPLE_MAX: Final = max(D2_D3)
_DIGITS: Final = 4


def many_ranges_factor(count: int) -> Fraction:
    """Return 1/d2 to four decimals: what makes a mean of many ranges a standard deviation.

    The K1 of the AIAG manual on measurement systems analysis, 4th edition, where `count` is the
    number of trials: 0.8862 for two, 0.5908 for three.
    """
    d2, _ = D2_D3[count]
    return _as_printed(1 / d2)


def one_range_factor(count: int) -> Fraction:
    """Return 1/d2* to four decimals, with d2* = √(d2² + d3²): the same for one range alone.

    The K2 (appraisers) and K3 (parts) of the manual: 0.7071 for two, 0.5231 for three, 0.3146 for
    ten.
    """
    d2, d3 = D2_D3[count]
    return _as_printed(1 / math.hypot(d2, d3))


def range_limit_factor(count: int) -> float:
    """Return D4 = 1 + 3·d3/d2: the mean range times it is the upper limit of a range chart."""
    d2, d3 = D2_D3[count]
    return 1 + 3 * d3 / d2


def _as_printed(factor: float) -> Fraction:
    # People check a study with the manual's form, so the factors have the digits of that form.
    return Fraction(round(factor * 10**_DIGITS), 10**_DIGITS)
