"""No file costs more than its share: 64 MiB of memory and 2 s of processor time, whatever is in it.

Each reading is measured in a process that reads nothing else, as growth over what it had in use
before, so that libraries and earlier readings are nobody's cost. The time is judged in loops over
16 MiB on the same processor, 16 of which take 2 s on the machine that the promise was made on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import IS_SOAK
from tests.hostile.entries import ENTRIES
from tests.untraced import untraced_environment

FILE_BYTES = 16 << 20
# What is far too long is refused unread: a file of a format's own size is what its parser sees.
SMALLER_BYTES = (2 << 20, 256 << 10, 48 << 10, 4 << 10)
GROWTH_BYTES_MAX = 64 << 20
LOOPS_MAX = 16.0
# Two gigabytes are written in all: into memory, where there is such a folder.
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
ROOT = Path(__file__).parents[2]


def measure(folder: Path, sizes: tuple[int, ...], *, is_whole: bool) -> list[dict]:
    """What each reading took; one that ended the process stands last, without figures."""
    command = [sys.executable, "-m", "tests.hostile.child", ",".join(map(str, sizes)), str(folder)]
    # Not under coverage: what a tracer costs is not the reader's.
    done = subprocess.run(
        [*command, *(["--whole"] if is_whole else [])],
        cwd=ROOT,
        env=untraced_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    pairs = zip(lines[::2], [*lines[1::2], {}], strict=False)
    readings = [{**asked, **took} for asked, took in pairs]
    assert done.returncode == 0, f"{readings[-1:]} ended the process: {done.stderr[-500:]}"
    return readings


def told(reading: dict) -> str:
    return (
        f"{reading['entry']} of {reading['file']}: {reading['outcome']}, "
        f"{reading['loops']:.1f} loops, {reading['growth_bytes'] >> 20} MiB"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    "sizes", [(FILE_BYTES,), *([SMALLER_BYTES] if IS_SOAK else [])], ids=lambda sizes: str(sizes[0])
)
def test_no_file_takes_more_than_its_share(sizes):
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        readings = measure(Path(folder), sizes, is_whole=IS_SOAK)
    assert {reading["entry"] for reading in readings} == {entry.name for entry in ENTRIES}
    if FILE_BYTES in sizes:  # else the figures would be of something else
        assert max(reading["growth_bytes"] for reading in readings) > FILE_BYTES // 2
    foreign = [told(r) for r in readings if r["outcome"].startswith("FOREIGN")]
    assert foreign == []
    large = [told(r) for r in readings if r["growth_bytes"] > GROWTH_BYTES_MAX]
    assert large == []
    slow = [told(r) for r in readings if r["loops"] > LOOPS_MAX]
    assert slow == []
