"""The relays of a fixture that connect one load at a time, behind a SCPI dialogue.

The dialogue is the meter's own where the meter has a switch built in. Channels and commands are
told to this module; it knows no resistor and measures nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.errors import InstrumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.instrument_description import InstrumentDescription
    from provisioning.scpi_session import ScpiSession


class LoadSwitch:
    """The loads of one fixture.

    Args:
        session: The dialogue with what switches them.
        description: What that is told.
        channels: Relay channel of each load, Ω → channel.

    Attributes:
        load_ohm: The load that is connected, Ω; `None` when that is none, or not known.
    """

    def __init__(
        self,
        session: ScpiSession,
        description: InstrumentDescription,
        *,
        channels: Mapping[int, int],
    ) -> None:
        self._session = session
        self._description = description
        self._channels = dict(channels)
        self.load_ohm: int | None = None

    def select(self, load_ohm: int) -> None:
        """Connect exactly one load.

        Raises:
            InstrumentError: The fixture has no such load, or the instrument refuses.
        """
        if load_ohm == self.load_ohm:
            return
        channel = self._channels.get(load_ohm)
        if channel is None:
            raise InstrumentError(
                "the fixture has no such load",
                expected=", ".join(f"{load} Ω" for load in sorted(self._channels)),
                got=f"{load_ohm} Ω",
                where=self._session.where,
                hint="name its relay in [station.metrology] load_channels",
            )
        commands = self._description.commands
        if commands.close_load is None:
            raise InstrumentError(
                "the instrument cannot switch loads",
                expected="a description with open_loads and close_load, or a switch of its own",
                got=self._description.name,
                where=self._session.where,
                hint="give the slot a switch=… (its VISA address)",
            )
        self.load_ohm = None
        close = commands.close_load.format(channel=channel)
        self._session.check_errors(after=(*commands.open_loads, close))
        self.load_ohm = load_ohm

    def open_all(self) -> None:
        """Disconnect all loads.

        Raises:
            InstrumentError: The instrument refuses, or does not answer.
        """
        self._session.check_errors(after=self._description.commands.open_loads)

    def close(self) -> None:
        """Disconnect all loads if the instrument still answers, and end its session."""
        self._session.close(last=self._description.commands.open_loads)
