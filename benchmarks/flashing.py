"""How much the station's flasher costs: 1 MiB into a simulated board, against bare `esptool`.

One simulated board in a process of its own, reached over RFC 2217 by both. The image is 1 MiB of
seeded random bytes at the first app slot: noise does not compress, so all of it travels. Before
every run the flash is erased, after every run its content is compared, both untimed; a wrong byte
ends the benchmark. Both connect, upload esptool's stub loader, write compressed, check the MD5 that
the chip computes, and reset the board. The station also asks for the region's MD5 before it writes,
so as not to wear what is right already.

Two rows, because two different things make the difference:

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
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairing import Comparison, format_table, measure_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET_RATIO = 1.15
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


class BoardProcess:
    """The simulated board in its own process, so that its work is nobody's time but its own."""

    def __init__(self, folder: Path, *, is_paced: bool) -> None:
        arguments = [sys.executable, __file__, "--serve", str(folder)]
        self._process = subprocess.Popen(
            [*arguments, "--pace"] if is_paced else arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port_url = self._read_line()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit("the simulated board's process ended")
        return line

    def ask(self, question: str) -> str:
        """Send one word, return the answer."""
        assert self._process.stdin is not None
        print(question, file=self._process.stdin, flush=True)
        return self._read_line()

    def close(self) -> None:
        """End the board."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def serve_board(folder: Path, *, is_paced: bool) -> None:
    """Be the board's process: print the port, then answer `erase` and `digest` until the end."""
    from provisioning.simulator.line import SimulatedLine

    with SimulatedLine(folder, board_count=1, seed=SEED, pace=is_paced) as line:
        slot = line.slots[0]
        print(slot.port_url, flush=True)
        for question in sys.stdin:
            if question.strip() == "erase":
                slot.board.flash.erase(0, slot.board.flash.size_bytes)
                print("erased", flush=True)
            else:
                content = slot.board.flash.read(OFFSET_BYTES, IMAGE_BYTES)
                print(hashlib.sha256(content).hexdigest(), flush=True)


def flash_as_station(port_url: str, content: bytes) -> None:
    """Flash the region once, as a slot of the station does."""
    from provisioning.flasher import EsptoolFlasher
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


def compare(
    folder: Path, *, rounds: int, command_rounds: int, is_paced: bool
) -> tuple[Comparison, ...]:
    """Run both comparisons on one board.

    Args:
        folder: An empty folder for the board and the image.
        rounds: Rounds that count, against esptool in this process.
        command_rounds: Rounds that count, against the command.
        is_paced: Whether bytes take the time of the baud rate.
    """
    content = random.Random(SEED).randbytes(IMAGE_BYTES)
    image = folder / "noise.bin"
    image.write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    board = BoardProcess(folder / "line", is_paced=is_paced)

    def check() -> None:
        if board.ask("digest") != expected:
            raise SystemExit("the board does not hold what was flashed")

    def compare_with(name: str, theirs: Callable[[str, Path], None], count: int) -> Comparison:
        pairs = measure_pairs(
            lambda: flash_as_station(board.port_url, content),
            lambda: theirs(board.port_url, image),
            rounds=count,
            prepare=lambda: board.ask("erase"),
            check=check,
        )
        return Comparison(
            ours="station, 1 MiB", theirs=name, pairs=pairs, target_ratio=TARGET_RATIO
        )

    try:
        return (
            compare_with("`esptool write-flash`", flash_by_command, command_rounds),
            compare_with("`esptool.main`, the station's port", flash_by_main, rounds),
        )
    finally:
        board.close()


def main() -> int:
    """Measure, print the table, say by the exit code whether the target is kept."""
    parser = argparse.ArgumentParser(description="Compare the station's flashing with esptool's.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--command-rounds", type=int, default=3)
    parser.add_argument("--pace", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve_board(arguments.serve, is_paced=arguments.pace)
        return 0
    with tempfile.TemporaryDirectory(prefix="ampforge-flashing-") as folder:
        comparisons = compare(
            Path(folder),
            rounds=arguments.rounds,
            command_rounds=arguments.command_rounds,
            is_paced=arguments.pace,
        )
    print(format_table(comparisons))
    return 0 if all(comparison.is_kept for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
