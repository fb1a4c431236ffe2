"""How much the station's flasher costs: 1 MiB into a simulated board, against bare `esptool`.

Simulated boards in a process of their own, reached over RFC 2217 by both. The image is 1 MiB of
seeded random bytes at the first app slot: noise does not compress, so all of it travels. Before
every run the flash is erased, after every run its content is compared, both untimed; a wrong byte
ends the benchmark. Both connect, upload esptool's stub loader, write compressed, check the MD5 that
the chip computes, and reset the board. The station also asks for the region's MD5 before it writes,
so as not to wear what is right already.

Two rows on a link without a speed limit, because two different things make the difference:

1. Against the command `esptool write-flash`, as a person types it. It starts a process and talks
   through pyserial's RFC 2217 client, which sleeps through most of the time.
2. Against `esptool.main` in the station's process, on the station's own port class: what is left is
   the flasher itself. This row says what a board on a USB cable would see.

    python benchmarks/flashing.py [--rounds N] [--command-rounds N] [--pace]

`--pace` lets bytes take the time that 921 600 baud take. Exit code 1 if a median ratio misses its
target.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pairing import Comparison, Pair, format_table, measure_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET_RATIO = 1.15
PACED_TARGET_RATIO = 1.10
SLOTS_TARGET_RATIO = 1.35
SLOT_COUNT = 8
OFFSET_BYTES = 0x20000
IMAGE_BYTES = 1 << 20
BAUD = 921_600
SEED = 2
ESPTOOL = Path(sys.executable).parent / "esptool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A piece of flash, as the flasher wants it."""

    name: str
    offset_bytes: int
    content: bytes


@dataclass(slots=True, kw_only=True)
class Effort:
    """What one run cost, beside its wall time."""

    station_cpu_s: float
    boards_cpu_s: float
    bytes_per_s: float


class BoardProcess:
    """The simulated boards in their own process, so that their work is nobody's time but theirs."""

    def __init__(self, folder: Path, *, board_count: int, is_paced: bool) -> None:
        arguments = [sys.executable, __file__, "--serve", str(folder), "--boards", str(board_count)]
        self._process = subprocess.Popen(
            [*arguments, "--pace"] if is_paced else arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port_urls = self._read_line().split()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit("the simulated boards' process ended")
        return line

    def ask(self, question: str) -> str:
        """Send one word, return the answer."""
        assert self._process.stdin is not None
        print(question, file=self._process.stdin, flush=True)
        return self._read_line()

    def close(self) -> None:
        """End the boards."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def serve_boards(folder: Path, *, board_count: int, is_paced: bool) -> None:
    """Be the boards' process: print the ports, then answer one word at a time until the end."""
    from provisioning.simulator.line import SimulatedLine

    with SimulatedLine(folder, board_count=board_count, seed=SEED, pace=is_paced) as line:
        print(*(slot.port_url for slot in line.slots), flush=True)
        for question in sys.stdin:
            match question.strip():
                case "erase":
                    for slot in line.slots:
                        slot.board.flash.erase(0, slot.board.flash.size_bytes)
                    answer = "erased"
                case "cpu":
                    answer = str(time.process_time())
                case _:
                    flashes = [
                        slot.board.flash.read(OFFSET_BYTES, IMAGE_BYTES) for slot in line.slots
                    ]
                    answer = " ".join(hashlib.sha256(content).hexdigest() for content in flashes)
            print(answer, flush=True)


def flash_as_station(port_url: str, content: bytes) -> None:
    """Flash the region once, as a slot of the station does."""
    from provisioning.esptool_flasher import EsptoolFlasher
    from provisioning.serial_port import open_port

    port = open_port(port_url, timeout_s=3.0)
    try:
        flasher = EsptoolFlasher(port, where=port_url, baud=BAUD)
        region = Region(name="app", offset_bytes=OFFSET_BYTES, content=content)
        flasher.write((region,), on_progress=lambda _fraction: None)
        port.rts = True
        port.rts = False
    finally:
        port.close()


def esptool_arguments(port_url: str, image: Path) -> list[str]:
    """Return what a person would type after `esptool`."""
    place = (f"{OFFSET_BYTES:#x}", str(image))
    return ["--port", port_url, "--baud", str(BAUD), "write-flash", *place]


def flash_by_command(port_url: str, image: Path) -> None:
    """Flash the region once by the command line."""
    subprocess.run(
        (str(ESPTOOL), *esptool_arguments(port_url, image)),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )


def flash_by_main(port_url: str, image: Path) -> None:
    """Flash the region once by esptool's own main, in this process and on the station's port."""
    import esptool
    from esptool.cmds import detect_chip

    from provisioning.serial_port import LINK_BAUD, open_port

    port = open_port(port_url, timeout_s=3.0)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            esp = detect_chip(port, baud=LINK_BAUD)
            esptool.main(esptool_arguments(port_url, image), esp=esp)
    finally:
        port.close()


def compare(folder: Path, *, rounds: int, command_rounds: int) -> tuple[Comparison, ...]:
    """Compare with esptool on a link without a speed limit: what is measured is the work.

    Args:
        folder: An empty folder for the board and the image.
        rounds: Rounds that count, against esptool in this process.
        command_rounds: Rounds that count, against the command.
    """
    content, image = make_image(folder)
    boards = BoardProcess(folder / "line", board_count=1, is_paced=False)
    (port_url,) = boards.port_urls
    try:
        return tuple(
            Comparison(
                ours="station, 1 MiB",
                theirs=name,
                pairs=measure_pairs(
                    lambda: flash_as_station(port_url, content),
                    partial(theirs, port_url, image),
                    rounds=count,
                    prepare=lambda: boards.ask("erase"),
                    check=lambda: check(boards, content, count=1),
                ),
                target_ratio=TARGET_RATIO,
            )
            for name, theirs, count in (
                ("`esptool write-flash`", flash_by_command, command_rounds),
                ("`esptool.main`, the station's port", flash_by_main, rounds),
            )
        )
    finally:
        boards.close()


def compare_paced(folder: Path, *, rounds: int) -> tuple[tuple[Comparison, ...], list[Effort]]:
    """Compare at 921600 baud: one slot with esptool, and eight slots with one.

    Args:
        folder: An empty folder for the boards and the image.
        rounds: Rounds that count.

    Returns:
        Both comparisons, and what each run of eight slots cost.
    """
    content, image = make_image(folder)
    boards = BoardProcess(folder / "paced", board_count=SLOT_COUNT, is_paced=True)
    first = boards.port_urls[0]
    efforts: list[Effort] = []
    flashed_count = 1

    def flash_all() -> None:
        nonlocal flashed_count
        flashed_count = SLOT_COUNT
        boards_cpu_s, station_cpu_s = float(boards.ask("cpu")), time.process_time()
        start_s = time.perf_counter()
        with ThreadPoolExecutor(SLOT_COUNT) as pool:
            list(pool.map(lambda url: flash_as_station(url, content), boards.port_urls))
        wall_s = time.perf_counter() - start_s
        efforts.append(
            Effort(
                station_cpu_s=time.process_time() - station_cpu_s,
                boards_cpu_s=float(boards.ask("cpu")) - boards_cpu_s,
                bytes_per_s=SLOT_COUNT * IMAGE_BYTES / wall_s,
            )
        )

    def measure(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[Pair, ...]:
        return measure_pairs(
            ours,
            theirs,
            rounds=rounds,
            prepare=lambda: boards.ask("erase"),
            check=lambda: check(boards, content, count=flashed_count),
        )

    def flash_first() -> None:
        nonlocal flashed_count
        flashed_count = 1
        flash_as_station(first, content)

    try:
        against_esptool = measure(flash_first, lambda: flash_by_main(first, image))
        against_one = measure(flash_all, flash_first)
    finally:
        boards.close()
    return (
        Comparison(
            ours="one slot, 1 MiB at 921600 baud",
            theirs="`esptool.main`, the station's port",
            pairs=against_esptool,
            target_ratio=PACED_TARGET_RATIO,
        ),
        Comparison(
            ours=f"{SLOT_COUNT} slots at once, 1 MiB each at 921600 baud",
            theirs="one slot",
            pairs=against_one,
            target_ratio=SLOTS_TARGET_RATIO,
        ),
    ), efforts[1:]


def make_image(folder: Path) -> tuple[bytes, Path]:
    """Return what is flashed, and a file that holds it."""
    content = random.Random(SEED).randbytes(IMAGE_BYTES)
    image = folder / "noise.bin"
    image.write_bytes(content)
    return content, image


def check(boards: BoardProcess, content: bytes, *, count: int) -> None:
    """End the benchmark unless the first boards hold what was flashed."""
    expected = hashlib.sha256(content).hexdigest()
    if boards.ask("digest").split()[:count] != [expected] * count:
        raise SystemExit("a board does not hold what was flashed")


def format_efforts(efforts: list[Effort]) -> str:
    """Return what eight slots cost, as a Markdown table."""
    rows = [
        "",
        f"| {SLOT_COUNT} slots at once | median |",
        "|---|---|",
    ]
    median = statistics.median
    wire = SLOT_COUNT * BAUD / 10
    reached = median(effort.bytes_per_s for effort in efforts)
    rows += [
        f"| processor, the station | {median(e.station_cpu_s for e in efforts):.2f} s |",
        f"| processor, the boards | {median(e.boards_cpu_s for e in efforts):.2f} s |",
        f"| image bytes a second, all slots | {reached:,.0f} of {wire:,.0f} that the wires carry |",
    ]
    return "\n".join(rows)


def main() -> int:
    """Measure, print the tables, say by the exit code whether the targets are kept."""
    parser = argparse.ArgumentParser(description="Compare the station's flashing with esptool's.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--command-rounds", type=int, default=3)
    parser.add_argument("--paced-rounds", type=int, default=3)
    parser.add_argument("--only-paced", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--boards", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--pace", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve_boards(arguments.serve, board_count=arguments.boards, is_paced=arguments.pace)
        return 0
    comparisons: tuple[Comparison, ...] = ()
    with tempfile.TemporaryDirectory(prefix="ampforge-flashing-") as folder:
        if not arguments.only_paced:
            comparisons = compare(
                Path(folder), rounds=arguments.rounds, command_rounds=arguments.command_rounds
            )
        paced, efforts = compare_paced(Path(folder), rounds=arguments.paced_rounds)
    comparisons += paced
    print(format_table(comparisons))
    print(format_efforts(efforts))
    return 0 if all(comparison.is_kept for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
