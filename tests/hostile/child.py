"""Reads hostile files in a process of its own, and says what each cost.

    python -m tests.hostile.child SIZES FOLDER [--whole]

By default each entry gets every third of the files that are made for its kind of format (all of
them where few entries are of it), every ninth of the general ones and one of three that begin as
its own, others than its neighbour; `--whole` gives each entry all of them.

One line of JSON for each reading: which entry and file, processor time, and by how much the most
memory in use grew over what was in use before. Processor time is told in loops: how often this
processor could have gone through 16 MiB byte by byte meanwhile, so that the figure is of the code
and not of the machine. The limits of the process are set so that a reading far beyond the promise
ends it, and the line that announced the reading stays the last.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signing.refusal import Refusal
from tests.hostile.entries import ENTRIES
from tests.hostile.files import GENERAL, HOSTILE_FILES, continue_valid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hostile.entries import Entry

READING_S_MAX = 20
GROWTH_BYTES_MAX = 512 << 20
SLOW_LOOPS = 8.0  # half of what is allowed
_LOOP_BYTES = 16 << 20
_SHARE, _SHARE_OF_ITS_KIND, _FEW = 9, 3, 4
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def tell(document: dict[str, object]) -> None:
    """Write one line, at once: the next reading may be the last."""
    sys.stdout.write(f"{json.dumps(document)}\n")
    sys.stdout.flush()


def memory_bytes(field: str) -> int:
    """Return one figure of this process: VmRSS now, VmHWM the most since it was reset."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise LookupError(field)


def time_loop() -> float:
    """Return the processor seconds of a plain loop over 16 MiB."""
    start_s = time.process_time()
    for _ in bytes(_LOOP_BYTES):
        pass
    return time.process_time() - start_s


@cache
def shortest_loop_s() -> float:
    """Return the processor seconds of the shortest of three loops, taken once."""
    return min(time_loop() for _ in range(3))


def measure(entry: Entry, path: Path) -> dict[str, object]:
    """Read one file and say what that took; a slow reading is done again beside another loop."""
    took = measure_once(entry, path)
    if took["loops"] > SLOW_LOOPS:
        again = measure_once(entry, path, loop_s=time_loop())
        took["loops"] = min(took["loops"], again["loops"])
    return took


def measure_once(entry: Entry, path: Path, *, loop_s: float | None = None) -> dict[str, Any]:
    gc.collect()
    gc.freeze()  # what is older is not looked through again: quick the next time
    _CLEAR.write_text("5")  # the most in use becomes what is in use now (proc(5))
    before = memory_bytes("VmRSS")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    children_s = usage.ru_utime + usage.ru_stime
    start_s = time.process_time()
    try:
        entry.read(path)
        outcome = "accepted"
    except Refusal as refusal:
        outcome = type(refusal).__name__
    except Exception as error:  # noqa: BLE001 - a foreign error is what this looks for
        outcome = f"FOREIGN {type(error).__name__}: {str(error)[:200]}"
    own_s = time.process_time() - start_s
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    took_s = own_s + usage.ru_utime + usage.ru_stime - children_s
    return {
        "outcome": outcome,
        "loops": took_s / (loop_s or shortest_loop_s()),
        "growth_bytes": memory_bytes("VmHWM") - before,
    }


def readings(sizes: list[int], *, is_whole: bool) -> Iterator[tuple[str, bytes, list[Entry]]]:
    """Yield each file with the entries that it is for, one file in memory at a time."""
    for size_bytes in sizes:
        for number, hostile in enumerate(HOSTILE_FILES):
            if hostile.families == GENERAL:
                meant = ENTRIES if is_whole else ENTRIES[number % _SHARE :: _SHARE]
            else:
                meant = [entry for entry in ENTRIES if hostile.families & entry.families]
                if not is_whole and len(meant) > _FEW:
                    meant = meant[number % _SHARE_OF_ITS_KIND :: _SHARE_OF_ITS_KIND]
            if meant:
                yield f"{hostile.name}, {size_bytes} bytes", hostile.build(size_bytes), meant
        for number, entry in enumerate(ENTRIES):
            files = continue_valid(entry.valid(), size_bytes)
            for name, content in files if is_whole else files[number % len(files) :][:1]:
                yield f"{name}, {size_bytes} bytes", content, [entry]


def main() -> None:
    """Measure everything and print it."""
    sizes = [int(text) for text in sys.argv[1].split(",")]
    folder = Path(sys.argv[2])
    for entry in ENTRIES:  # what is imported or made once is nobody's cost
        path = folder / f"warm{entry.suffix}"
        path.write_bytes(entry.valid())
        measure(entry, path)
    gc.collect()
    gc.freeze()
    address_bytes = memory_bytes("VmSize") + GROWTH_BYTES_MAX
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    for name, content, meant in readings(sizes, is_whole="--whole" in sys.argv):
        paths = {suffix: folder / f"hostile{suffix}" for suffix in (".bin", ".toml", ".csv")}
        paths[".bin"].write_bytes(content)
        for suffix in (".toml", ".csv"):  # one file under three names
            paths[suffix].unlink(missing_ok=True)
            paths[suffix].hardlink_to(paths[".bin"])
        del content
        for entry in meant:
            tell({"entry": entry.name, "file": name})
            limit_s = int(time.process_time()) + READING_S_MAX
            resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
            tell(measure(entry, paths[entry.suffix]))


if __name__ == "__main__":
    main()
