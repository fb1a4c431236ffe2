"""How long an auditor waits: a million values' capability, and a unit judged again.

Whole processes. `capability study` over 1 000 000 values against numpy in a process of its own that
loads the same file and computes mean, both standard deviations and Cpk, without intervals, checks
or messages. `unit replay` from an exported record against the same from the ledger; both also have
an absolute target.

    python benchmarks/records.py [--rounds N]

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pairing import Comparison, format_table, measure_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

VALUES = 1_000_000
LIMIT = 1.5
STUDY_S, REPLAY_S = 2.0, 0.5
SCRIPT = str(Path(sys.executable).parent / "ampforge")
NUMPY = f"""
import sys, numpy as np
v = np.loadtxt(sys.argv[1], skiprows=1)
within = np.abs(np.diff(v)).mean() / 1.1283791670955126
print(len(v), v.mean(), v.std(ddof=1), ({LIMIT} - abs(v.mean())) / (3 * within))
"""


def run(*arguments: str, folder: Path | None = None) -> str:
    """Run a program; a failure is never a fast result."""
    # An installed program has its bytecode on disk, whatever this shell asks for.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        arguments,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        timeout=300,
        env=environment,
    )
    return done.stdout


def compare_study(folder: Path, rounds: int) -> Comparison:
    """Measure the capability of a million values."""
    source = random.Random(1)
    path = str(folder / "values.csv")
    rows = "\n".join(f"{source.gauss(0.05, 0.31):.6f}" for _ in range(VALUES))
    Path(path).write_text(f"value\n{rows}\n")
    limits = ("--lower", str(-LIMIT), "--upper", str(LIMIT))

    def ours() -> None:
        found = json.loads(run(SCRIPT, "capability", "study", path, *limits, "--json"))
        told = [found["count"], found["mean"], found["sd_overall"], found["cpk"]["estimate"]]
        if any(abs(a - b) > 1e-9 * abs(b) for a, b in zip(told, expected, strict=True)):
            raise SystemExit(f"{told} is not what numpy says: {expected}")

    def theirs() -> str:
        return run(sys.executable, "-c", NUMPY, path)

    expected = [float(part) for part in theirs().split()]
    return Comparison(
        ours=f"`capability study`, {VALUES:,} values",
        theirs="numpy, the same file",
        pairs=measure_pairs(ours, theirs, rounds=rounds),
        target_ratio=8.0,
    )


def compare_replay(folder: Path, rounds: int) -> Comparison:
    """Measure the replay of one simulated unit, from its exported record and from the ledger."""
    run(SCRIPT, "init", "flare", "--test-keys", folder=folder)
    product = folder / "flare"
    for command in (
        "policy approve",
        "bundle build",
        "bundle sign build/flare-1.4.0.bundle.zip",
        "station init --test-keys --no-passphrase",
        "trust sign --factory-ca station/factory-ca.cert.der",
        "station run --simulate 1",
        "unit export 02:5a:48:c0:00:00 --output unit.json",
    ):
        run(SCRIPT, *command.split(), folder=product)

    def replay(*source: str) -> None:
        told = json.loads(run(SCRIPT, "unit", "replay", *source, "--json", folder=product))
        if not told["agrees"]:
            raise SystemExit("the record does not agree with its readings")

    return Comparison(
        ours="`unit replay`, exported record",
        theirs="the same from the ledger",
        pairs=measure_pairs(
            lambda: replay("--record", "unit.json", "--factory-ca", "station/factory-ca.cert.der"),
            lambda: replay("02:5a:48:c0:00:00"),
            rounds=rounds,
        ),
        target_ratio=1.25,
    )


def judge(name: str, times: Sequence[float], target_s: float) -> bool:
    """Print a median beside its target, and return whether it is kept."""
    median_s = statistics.median(times)
    verdict = "kept" if median_s <= target_s else "MISSED"
    print(f"{name}: median {median_s:.3f} s, target <= {target_s:g} s: {verdict}.")
    return median_s <= target_s


def main() -> int:
    """Measure, print the table, say by the exit code whether the targets are kept."""
    parser = argparse.ArgumentParser(description="Measure what an auditor waits for.")
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        study = compare_study(Path(name), rounds)
        replay = compare_replay(Path(name), rounds)
    print(format_table((study, replay)))
    kept = [
        judge("Capability", [pair.ours_s for pair in study.pairs], STUDY_S),
        judge("Replay of an export", [pair.ours_s for pair in replay.pairs], REPLAY_S),
        judge("Replay from the ledger", [pair.theirs_s for pair in replay.pairs], REPLAY_S),
        study.is_kept,
        replay.is_kept,
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
