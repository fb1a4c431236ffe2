"""A simulated production line: boards in slots, each with a serial port and a meter.

It is what `ampforge station simulate` runs and what the demo and the tests stand on. Everything is
derived from a seed and kept in a folder; made again with both, the line is the same, with whatever
was flashed in the meantime.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from provisioning.errors import SimulatorError
from provisioning.simulator.board import SimulatedBoard
from provisioning.simulator.faults import NO_FAULTS, FaultPlan
from provisioning.simulator.meter import SimulatedMeter
from provisioning.simulator.meter_server import MeterServer
from provisioning.simulator.product import FLARE, SimulatedProduct
from provisioning.simulator.uart_server import UartServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioning.simulator.update_session import UpdateSession

HOST: Final = "127.0.0.1"
BOARD_COUNT_MAX: Final = 256
_PORTS_PER_SLOT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSlot:
    """One place on the line.

    Attributes:
        port_url: Serial port for esptool and the station.
        meter_address: VISA address of the slot's multimeter.
        pty_path: The pseudo terminal, if the line was made with some.
        board: The board that sits there.
        uart: Its serial port's server, for its counters.
    """

    port_url: str
    meter_address: str
    pty_path: str | None
    board: SimulatedBoard
    uart: UartServer


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SimulatedLine:
    """Boards that run until the context ends.

    Args:
        folder: Where the boards keep their state, one folder each.
        board_count: Number of slots.
        seed: What MACs, analog figures and meters are drawn from.
        update_session_factory: Makes the updater of a board; `None`: boards cannot update.
        pace: Take the time that the baud rate takes.
        base_port: Slot n listens on base_port + 2n (serial) and + 2n + 1 (meter); `None`: any free
            ports.
        faults: What is wrong with which board, by index.
        product: What is printed on the boards.
        has_pty: Offer a pseudo terminal for each board, too.
        now: The boards' wall clock.
        has_usb_plug: The boards are on their own USB plugs: no UART bridge, no baud rate.

    Raises:
        SimulatorError: A folder or port cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        board_count: int,
        seed: int,
        update_session_factory: Callable[[SimulatedBoard], UpdateSession] | None = None,
        pace: bool = False,
        base_port: int | None = None,
        faults: Mapping[int, FaultPlan] | None = None,
        product: SimulatedProduct = FLARE,
        has_pty: bool = False,
        now: Callable[[], datetime] = _utc_now,
        has_usb_plug: bool = False,
    ) -> None:
        if not 1 <= board_count <= BOARD_COUNT_MAX:
            raise SimulatorError(
                "the number of simulated boards is not usable",
                expected=f"1 to {BOARD_COUNT_MAX}",
                got=board_count,
            )
        self._folder = folder
        self._board_count = board_count
        self._seed = seed
        self._update_session_factory = update_session_factory
        self._wait = time.sleep if pace else None
        self._base_port = base_port
        self._faults = faults or {}
        self._product = product
        self._has_pty = has_pty
        self._now = now
        self._has_usb_plug = has_usb_plug
        self._stack = ExitStack()
        self.slots: tuple[SimulatedSlot, ...] = ()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.slots = tuple(self._add_slot(stack, index) for index in range(self._board_count))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def serve_until_interrupted(self, stop: threading.Event | None = None) -> None:
        """Block until Ctrl-C, or until `stop` is set."""
        with suppress(KeyboardInterrupt):
            (stop or threading.Event()).wait()

    def _add_slot(self, stack: ExitStack, index: int) -> SimulatedSlot:
        board = SimulatedBoard(
            self._folder / f"board-{index + 1}",
            self._seed,
            index,
            now=self._now,
            faults=self._faults.get(index, NO_FAULTS),
            product=self._product,
            update_session_factory=self._update_session_factory,
            has_usb_plug=self._has_usb_plug,
        )
        stack.callback(board.close)
        first_port = 0 if self._base_port is None else self._base_port + _PORTS_PER_SLOT * index
        uart = UartServer(
            board,
            host=HOST,
            port=first_port,
            monotonic=time.monotonic,
            wait=self._wait,
            has_pty=self._has_pty,
        )
        stack.callback(uart.stop)
        meter = MeterServer(
            SimulatedMeter(board.output, serial=f"SM{self._seed:04d}{index + 1:03d}"),
            lock=board.lock,
            host=HOST,
            port=first_port and first_port + 1,
        )
        stack.callback(meter.stop)
        uart.start()
        meter.start()
        return SimulatedSlot(
            port_url=f"rfc2217://{HOST}:{uart.port}"
            + ("?reset=usb-jtag" if self._has_usb_plug else ""),
            meter_address=f"TCPIP0::{HOST}::{meter.port}::SOCKET",
            pty_path=uart.pty_path,
            board=board,
            uart=uart,
        )
