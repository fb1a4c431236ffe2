"""How long a person waits for help: `ampforge --help` against `esptool --help`.

Whole processes from the same virtual environment, output thrown away, alternating. Both are Click
programs of the same trade; the difference is what they import before they can print.

    python benchmarks/command_line.py [--rounds N]

Exit code 1 if the median ratio misses its target.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from pairing import Comparison, format_table, measure_pairs

TARGET_RATIO = 0.45
SCRIPTS = Path(sys.executable).parent


def run_help(script: str) -> None:
    """Start one console script with --help and wait until it is gone."""
    subprocess.run(
        (str(SCRIPTS / script), "--help"), check=True, stdout=subprocess.DEVNULL, timeout=60
    )


def main() -> int:
    """Measure, print the table, say by the exit code whether the target is kept."""
    parser = argparse.ArgumentParser(description="Compare the start-up of two command lines.")
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    comparison = Comparison(
        ours="`ampforge --help`",
        theirs="`esptool --help`",
        pairs=measure_pairs(
            lambda: run_help("ampforge"), lambda: run_help("esptool"), rounds=rounds
        ),
        target_ratio=TARGET_RATIO,
    )
    print(format_table((comparison,)))
    return 0 if comparison.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
