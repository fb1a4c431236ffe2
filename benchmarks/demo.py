"""How long the whole line takes: `ampforge demo`, start to end, as a newcomer runs it.

Whole processes, one after the other, each into a folder of its own; the wall time of each is
printed, and the parts of it that the processor worked. There is no peer for this figure: no other
tool goes from a waveform file to an updated board.

    python benchmarks/demo.py [--rounds N]

Exit code 1 if the median is over its target.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET_WALL_S = 60.0
AMPFORGE = Path(sys.executable).parent / "ampforge"


def run_demo() -> tuple[float, float]:
    """Run the demo once; return wall seconds and processor seconds, children included."""
    with tempfile.TemporaryDirectory(prefix="ampforge-demo-") as folder:
        before = os.times()
        start = time.perf_counter()
        subprocess.run(
            (AMPFORGE, "demo", "--output", Path(folder) / "demo", "--json"),
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=600,
        )
        wall_s = time.perf_counter() - start
        after = os.times()
    worked_s = after.children_user + after.children_system
    return wall_s, worked_s - before.children_user - before.children_system


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    runs = [run_demo() for _ in range(rounds)]
    wall_s = statistics.median(run[0] for run in runs)
    worked_s = statistics.median(run[1] for run in runs)
    shortest_s, longest_s = min(run[0] for run in runs), max(run[0] for run in runs)
    print("| what | wall, median | shortest to longest | processor, median | target | |")
    print("|---|---|---|---|---|---|")
    print(
        f"| `ampforge demo`, 4 boards, {rounds} rounds | **{wall_s:.1f} s** "
        f"| {shortest_s:.1f}-{longest_s:.1f} s | {worked_s:.1f} s | < {TARGET_WALL_S:.0f} s "
        f"| {'kept' if wall_s < TARGET_WALL_S else 'MISSED'} |"
    )
    sys.exit(0 if wall_s < TARGET_WALL_S else 1)


if __name__ == "__main__":
    main()
