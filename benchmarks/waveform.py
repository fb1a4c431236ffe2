"""How the time of `ampforge waveform analyze` grows: 20 000 segments against 10 000.

Whole processes, alternating: start of the interpreter, reading, every figure, printing. Once as
rows of a CSV file; once as a TOML file whose repeat period unrolls to as many segments; and once as
a TOML file in which half as many are written out one by one, which is all that such a file holds.

    python benchmarks/waveform.py [--rounds N]

Exit code 1 if twice the segments take more than 2.2 times the time, or any median a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pairing import Comparison, format_table, measure_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET_RATIO = 2.2
TARGET_S = 1.0
FEW, MANY = 10_000, 20_000
MODE_SEGMENTS_MAX = 4_000
SCRIPT = Path(sys.executable).parent / "ampforge"


def write_rows(folder: Path, count: int) -> Path:
    """A CSV file of `count` ramps of 50 µs between currents that look random."""
    path = folder / f"rows-{count}.csv"
    rows = (f"{50 * i},{(i * 37) % 801 - 400}" for i in range(count + 1))
    path.write_text("t_us,i_ua\n" + "\n".join(rows) + "\n")
    return path


def write_train(folder: Path, count: int) -> Path:
    """A TOML file with one pulse of four segments and bursts of both polarities."""
    path = folder / f"train-{count}.toml"
    pulses = count // 8
    path.write_text(
        "format = 1\ntick_us = 100\n\n[[mode]]\n"
        'name = "TRAIN"\nbalance = "balanced"\nregulation = "current"\nlevels_ua = [250]\n'
        f"session_s = 1200\npulses_per_burst = {pulses}\nflip_each_burst = true\n"
        "segments = [{ms=2, at=1}, {ms=0.5, at=0}, {ms=2, at=-1}, {ms=28.8, at=0}]\n"
    )
    return path


def write_segments(folder: Path, count: int) -> Path:
    """A TOML file with `count` segments written out, in as many modes as they need."""
    path = folder / f"segments-{count}.toml"
    lines = ["format = 1", "tick_us = 100"]
    for number, begin in enumerate(range(0, count, MODE_SEGMENTS_MAX)):
        inner = min(MODE_SEGMENTS_MAX, count - begin) - 1
        lines += [
            f'[[mode]]\nname = "PART{number}"\nbalance = "galvanic"\nregulation = "current"',
            "levels_ua = [400]\nsession_s = 60\npulses_per_burst = 1\nflip_each_burst = false",
            "segments = [",
            *(f"{{ms=1,at={(index * 37 % 201 - 100) / 100}}}," for index in range(inner)),
            "{ms=1,at=0}]",
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def analyze(path: Path, segments: int) -> None:
    """Run the command; a failure or a missing segment is never a fast result."""
    done = subprocess.run(
        (str(SCRIPT), "waveform", "analyze", str(path), "--json"),
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    waveforms = json.loads(done.stdout)["waveforms"]
    if not waveforms or any(entry["period_s"] <= 0 for entry in waveforms):
        raise SystemExit(f"{path}: {segments} segments were not analysed")


def compare(
    what: str,
    write: Callable[[Path, int], Path],
    folder: Path,
    counts: tuple[int, int],
    rounds: int,
) -> Comparison:
    """Measure one kind of file at two sizes."""
    few, many = counts
    paths = {count: write(folder, count) for count in counts}
    return Comparison(
        ours=f"{what}, {many:,} segments",
        theirs=f"{few:,} segments",
        pairs=measure_pairs(
            partial(analyze, paths[many], many), partial(analyze, paths[few], few), rounds=rounds
        ),
        target_ratio=TARGET_RATIO,
    )


def main() -> int:
    """Measure, print the table, say by the exit code whether the targets are kept."""
    parser = argparse.ArgumentParser(description="See how the time of an analysis grows.")
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        comparisons = (
            compare("CSV rows", write_rows, folder, (FEW, MANY), rounds),
            compare("TOML repeat period", write_train, folder, (FEW, MANY), rounds),
            compare("TOML written out", write_segments, folder, (FEW // 2, MANY // 2), rounds),
        )
    print(format_table(comparisons))
    slowest_s = max(
        statistics.median(times)
        for row in comparisons
        for times in ([p.ours_s for p in row.pairs], [p.theirs_s for p in row.pairs])
    )
    is_fast = slowest_s < TARGET_S
    verdict = "kept" if is_fast else "MISSED"
    print(f"Slowest median {slowest_s:.3f} s, target < {TARGET_S:g} s: {verdict}.")
    return 0 if is_fast and all(row.is_kept for row in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
