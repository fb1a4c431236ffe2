"""How long a delta takes: `ampforge delta create` against detools' own command.

Whole processes from the same virtual environment on the same two 1.5 MiB application images,
alternating, heatshrink with the same window; both patches must be the same bytes. Ours loads of
detools what makes a patch and not its command line, reads both files as ESP32 images, follows its
patch, compares, and writes durably. So it is measured against
`detools create_patch`, which does none of it, and against `create_patch`, `apply_patch` and `cmp`,
which is what a script needs for the same certainty.

    python benchmarks/delta.py [--rounds N]

Exit code 1 if a median ratio misses its target.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from pairing import Comparison, format_table, measure_pairs

TARGET_RATIO = 1.0
SCRIPTS = Path(sys.executable).parent
IMAGE_BYTES = 3 << 19
SEED = 20_260_101
EDITS, INSERTIONS = 3000, 40


def build_image(payload: bytes) -> bytes:
    """Return an ESP32-C3 image of one segment, with checksum and appended SHA-256."""
    header = bytearray(24)
    header[0:4] = bytes((0xE9, 1, 2, 0x20))
    header[4:8] = (0x42000020).to_bytes(4, "little")
    header[12:14] = (5).to_bytes(2, "little")
    header[23] = 1
    segment = (0x42000020).to_bytes(4, "little") + len(payload).to_bytes(4, "little") + payload
    checksum = 0xEF
    for byte in payload:
        checksum ^= byte
    body = bytes(header) + segment
    body += bytes(-(len(body) + 1) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def build_payloads() -> tuple[bytes, bytes]:
    """Return code-like bytes, and the same after a release's worth of edits and insertions."""
    draw = random.Random(SEED)
    words = [draw.randbytes(draw.choice((4, 8, 12, 16, 24))) for _ in range(4000)]
    size_bytes = IMAGE_BYTES - 4096
    old = bytearray()
    while len(old) < size_bytes:
        old += draw.choice(words)
    new = bytearray(old)
    for _ in range(EDITS):
        new[draw.randrange(len(new))] = draw.randrange(256)
    for _ in range(INSERTIONS):
        place = draw.randrange(len(new))
        new[place:place] = draw.randbytes(draw.randrange(200))
    return bytes(old[:size_bytes]), bytes(new[:size_bytes])


def main() -> int:
    """Measure, print the table, say by the exit code whether the target is kept."""
    parser = argparse.ArgumentParser(description="Compare the making of a delta.")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ampforge-delta-") as name:
        folder = Path(name)
        for file_name, payload in zip(("old.bin", "new.bin"), build_payloads(), strict=True):
            (folder / file_name).write_bytes(build_image(payload))
        ours, theirs = folder / "ours.patch", folder / "theirs.patch"

        make = ("ampforge", "delta", "create", "old.bin", "new.bin", "--output", ours.name)
        detools = ("detools", "create_patch", "-c", "heatshrink", "old.bin", "new.bin", theirs.name)

        def run(*command: str) -> None:
            subprocess.run(
                (str(SCRIPTS / command[0]), *command[1:]),
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=60,
            )

        def run_detools_with_proof() -> None:
            run(*detools)
            run("detools", "apply_patch", "old.bin", theirs.name, "made.bin")
            subprocess.run(("cmp", "new.bin", "made.bin"), cwd=folder, check=True)

        comparisons = tuple(
            Comparison(
                ours="`ampforge delta create`",
                theirs=name,
                pairs=measure_pairs(lambda: run(*make), other, rounds=rounds),
                target_ratio=TARGET_RATIO,
            )
            for name, other in (
                ("`detools create_patch`, `apply_patch`, `cmp`", run_detools_with_proof),
                ("`detools create_patch` alone", lambda: run(*detools)),
            )
        )
        if ours.read_bytes() != theirs.read_bytes():
            raise SystemExit("the two patches differ: the times say nothing")
        print(f"two images of {IMAGE_BYTES >> 10} KiB, patch {ours.stat().st_size:,} bytes\n")
    print(format_table(comparisons))
    return 0 if all(row.is_kept for row in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
