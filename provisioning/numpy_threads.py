"""Keeps NumPy in one thread, where it is about to be loaded.

The arrays of a capture are small: OpenBLAS would start a thread for each processor as it is loaded,
which takes a quarter of that time, and never give them anything to do. In one thread sums are also
taken in one order, however many processors there are.
"""

from __future__ import annotations

import os
from typing import Final

_OPENBLAS_THREADS: Final = "OPENBLAS_NUM_THREADS"


def keep_numpy_in_one_thread() -> None:
    """Say so in the environment, which OpenBLAS reads once; who set it himself is obeyed."""
    os.environ.setdefault(_OPENBLAS_THREADS, "1")
