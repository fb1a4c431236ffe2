"""A SCPI multimeter on a load fixture, told what its description says.

A block is sent in one piece (configuration, then at most one query), so that a reading costs two
round trips: the reading and the error queue. Nothing that the instrument said is used before that
queue was empty. Implements docs/spec/calibration.md §3.

Current is measured directly, or as the voltage across a load; then the input resistance, which is
in parallel to the load, is corrected. This module does not decide which range to use; the loads are
connected by `load_switch`.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final

from provisioning.errors import InstrumentError, InstrumentSettlingError
from provisioning.instrument_description import Quantity, built_in_description
from provisioning.instruments import NANOAMPS_PER_AMPERE, Reading, parse_identity, parse_samples
from provisioning.load_switch import LoadSwitch
from provisioning.meter_settings import MeterSettings
from provisioning.scpi_session import ScpiSession, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from provisioning.instrument_description import InstrumentDescription
    from provisioning.instruments import InstrumentIdentity
    from provisioning.measurement_settings import MetrologySettings

_AMPERE_PER_MICROAMP: Final = 1e-6
_DEFAULTS: Final = MeterSettings()
_SCATTER_SIGMAS: Final = 5.0
_REACH_IN_RANGES: Final = 20
"""More than any overrange, and than the next range that an instrument may choose by itself."""


class ScpiMeter:
    """A SCPI multimeter with the fixture's loads; implements `Meter`.

    Args:
        session: The dialogue with the instrument.
        load_channels: Relay channel of each load, Ω → channel.
        line_frequency_hz: Mains frequency that NPLC counts in.
        clock: Returns the time now, UTC.
        description: What it is told.
        settings: When a block has settled.
        switch: The dialogue with what switches the loads; the instrument itself when absent.

    Raises:
        InstrumentError: It does not identify itself, or is another model.
    """

    def __init__(
        self,
        session: ScpiSession,
        *,
        load_channels: Mapping[int, int],
        line_frequency_hz: int,
        clock: Callable[[], datetime],
        description: InstrumentDescription | None = None,
        settings: MeterSettings = _DEFAULTS,
        switch: ScpiSession | None = None,
    ) -> None:
        self._session = session
        self._description = description or built_in_description()
        self._function = self._description.function
        self._loads = LoadSwitch(
            session if switch is None else switch,
            self._description if switch is None else built_in_description(),
            channels=load_channels,
        )
        self._line_frequency_hz = line_frequency_hz
        self._clock = clock
        self._settings = settings
        self._configuration: tuple[str, ...] = ()
        self._identity = parse_identity(session.ask("*IDN?"), where=session.where)
        self._refuse_other_model()
        session.check_errors(after=self._description.commands.begin)
        if switch is not None:
            self._loads.open_all()

    @property
    def identity(self) -> InstrumentIdentity:
        """Who the instrument is."""
        return self._identity

    def select_load(self, load_ohm: int) -> None:
        """Connect exactly one load.

        Raises:
            InstrumentError: The fixture has no such load, or the instrument refuses.
        """
        self._loads.select(load_ohm)

    def read_current(
        self, *, range_ua: int, nplc: float, count: int, scatter_na: float = 0.0
    ) -> Reading:
        """Take a settled block of samples of the direct current.

        A block counts when its first sample agrees with the mean of the others: what is still
        settling is furthest away at first, and noise is not settling (docs/spec/calibration.md
        §3.1). It is taken again until that holds.

        Args:
            range_ua: Range, µA.
            nplc: Integration time of one sample, mains periods.
            count: Samples.
            scatter_na: Known standard deviation of one sample, nA, when there is one.

        Raises:
            InstrumentOverloadError: The current is larger than the range.
            InstrumentTimeoutError: No answer in time.
            InstrumentSettlingError: The samples keep moving.
            InstrumentError: No load is connected, or the answer cannot be used.
        """
        values = self._function.nplc_values
        if values and not any(math.isclose(nplc, value) for value in values):
            raise InstrumentError(
                "the instrument has no such integration time",
                expected=", ".join(f"{value:g}" for value in values) + " mains periods",
                got=f"{nplc:g}",
                where=self._session.where,
                hint="choose one of them as [station.metrology] nplc",
            )
        limit_na = max(
            self._settings.settling_limit_na / math.sqrt(min(nplc, 1.0)),
            _SCATTER_SIGMAS * scatter_na,
        )
        command = self._function.nplc.format(nplc=nplc)
        apart_na = math.inf
        for _ in range(self._settings.settling_attempts):
            reading = self._read((command,), range_ua, nplc / self._line_frequency_hz, count)
            first_na, *others_na = reading.samples_na
            apart_na = abs(first_na - statistics.fmean(others_na or [first_na]))
            if apart_na <= limit_na:
                return reading
        raise InstrumentSettlingError(
            "the reading does not settle",
            expected=f"the first sample within {limit_na:.0f} nA of the mean of the others",
            got=f"{apart_na:.0f} nA apart, the last of {self._settings.settling_attempts} times",
            where=f"{self._session.where}, {self._loads.load_ohm} Ω",
            hint="check leads and contacts; if they are good, look at the unit's output",
        )

    def prepare_aperture(self, *, range_ua: int, aperture_s: float, count: int) -> None:
        """Configure the instrument for `read_aperture`, which then begins with its first sample.

        Configuring takes a real instrument tens of milliseconds: relays, and a reading of zero.

        Args:
            range_ua: Range, µA.
            aperture_s: Integration time of one sample, s.
            count: Samples.

        Raises:
            InstrumentError: As `read_aperture`.
        """
        _, wanted = self._plan(self._in_seconds(aperture_s), range_ua, count)
        if wanted == self._configuration:
            return
        self._configuration = ()
        if self._function.confirm:
            self._confirm(*wanted, self._function.confirm)
        else:
            self._session.check_errors(after=wanted)
        self._configuration = wanted

    def read_aperture(self, *, range_ua: int, aperture_s: float, count: int) -> Reading:
        """Take samples back to back, each integrated over a stated aperture.

        Args:
            range_ua: Range, µA.
            aperture_s: Integration time of one sample, s.
            count: Samples.

        Raises:
            InstrumentError: As `read_current`, or the instrument has no such aperture.
        """
        return self._read(self._in_seconds(aperture_s), range_ua, aperture_s, count)

    def close(self) -> None:
        """Open the relays if they still answer, and end the session."""
        self._loads.close()
        self._session.close()

    def _in_seconds(self, aperture_s: float) -> tuple[str, ...]:
        function = self._function
        if function.aperture is None or not (
            function.aperture_min_s <= aperture_s <= function.aperture_max_s
        ):
            raise InstrumentError(
                "the instrument cannot integrate for so long or so short a time",
                expected="no time in seconds at all"
                if function.aperture is None
                else f"{function.aperture_min_s:g} s to {function.aperture_max_s:g} s",
                got=f"{aperture_s:g} s",
                where=self._session.where,
                hint="waveforms need an instrument whose aperture is set in seconds",
            )
        return (function.aperture.format(aperture_s=aperture_s), *function.after_aperture)

    def _connected_ohm(self) -> int:
        load_ohm = self._loads.load_ohm
        if load_ohm is None:
            raise InstrumentError(
                "no load is connected", where=self._session.where, hint="select a load"
            )
        return load_ohm

    def _plan(
        self, integration: tuple[str, ...], range_ua: int, count: int
    ) -> tuple[float, tuple[str, ...]]:
        """Return the range, A or V, and all that the instrument is told before a reading."""
        function = self._function
        selected = function.range_for(
            range_ua * _AMPERE_PER_MICROAMP * self._per_ampere(self._connected_ohm())
        )
        return selected, (
            function.configure.format(range=selected),
            *function.after_configure,
            *integration,
            self._description.commands.count.format(count=count),
        )

    def _read(
        self, integration: tuple[str, ...], range_ua: int, aperture_s: float, count: int
    ) -> Reading:
        selected, wanted = self._plan(integration, range_ua, count)
        load_ohm = self._connected_ohm()
        function, commands = self._function, self._description.commands
        per_ampere, where = self._per_ampere(load_ohm), self._session.where
        changes = () if wanted == self._configuration else wanted
        self._configuration = ()
        if changes and function.confirm:
            self._confirm(*changes, function.confirm)
            changes = ()
        # A real instrument integrates for so long; autozero doubles it.
        answer = self._session.ask(*changes, commands.read, wait_s=2 * aperture_s * count)
        self._session.check_errors()
        self._configuration = wanted
        samples = parse_samples(answer, count=count, unit=function.unit, where=where)
        self._refuse_impossible(samples, selected)
        samples_na = tuple(sample * NANOAMPS_PER_AMPERE / per_ampere for sample in samples)
        return Reading(
            mean_na=math.fsum(samples_na) / count,
            sd_na=statistics.stdev(samples_na) if count > 1 else 0.0,
            count=count,
            samples_na=samples_na,
            range_ua=range_ua,
            aperture_s=aperture_s,
            load_ohm=load_ohm,
            at=self._clock(),
        )

    def _refuse_impossible(self, samples: Sequence[float], selected: float) -> None:
        # A number without its unit looks like any other, but no range shows so much: mA for A.
        largest = max(map(abs, samples))
        if largest > _REACH_IN_RANGES * selected:
            raise InstrumentError(
                "the instrument answered with more than its range can show",
                expected=f"at most {_REACH_IN_RANGES} times the range of {selected:g}",
                got=f"{largest:g}",
                where=self._session.where,
                hint="check that it answers in A or V, not in mA or mV, and on the range it is "
                "told",
            )

    def _per_ampere(self, load_ohm: int) -> float:
        """Return what the instrument reads for one ampere: 1, or the volts across what it sees."""
        input_ohm = self._function.input_resistance_ohm
        if self._description.quantity is Quantity.CURRENT or input_ohm is None:
            return 1.0
        return load_ohm * input_ohm / (load_ohm + input_ohm)

    def _confirm(self, *lines: str) -> None:
        answer = self._session.ask(*lines)
        self._session.check_errors()
        if not answer.strip('" ').upper().startswith(self._function.confirmed.upper()):
            raise InstrumentError(
                "the instrument measures something else",
                expected=self._function.confirmed,
                got=repr(answer[:60]),
                where=self._session.where,
                hint="check that nobody works at its front panel",
            )

    def _refuse_other_model(self) -> None:
        models = self._description.models
        if models and self._identity.model not in models:
            raise InstrumentError(
                "the instrument is another model than its description is for",
                expected=" | ".join(models),
                got=str(self._identity),
                where=self._session.where,
                hint="name the right description in [station.meter], or write one",
            )


def open_meter(
    address: str,
    metrology: MetrologySettings,
    *,
    clock: Callable[[], datetime],
    description: InstrumentDescription | None = None,
    settings: MeterSettings = _DEFAULTS,
    switch_address: str | None = None,
    backend: str = "@py",
    timeout_s: float = 5.0,
) -> ScpiMeter:
    """Open a SCPI multimeter by its VISA address.

    Args:
        address: Such as `TCPIP0::127.0.0.1::5025::SOCKET`.
        metrology: Load channels and mains frequency.
        clock: Returns the time now, UTC.
        description: What it is told; a switching meter's when absent.
        settings: When a block has settled.
        switch_address: VISA address of what switches the loads, if it is not the meter.
        backend: PyVISA's backend; `@py` is PyVISA-py.
        timeout_s: Time to connect, and to answer on top of the integration.

    Raises:
        InstrumentError: It cannot be opened or does not identify itself.
    """
    chosen = description or built_in_description()
    opened: list[ScpiSession] = []

    def open_one(at: str, told: InstrumentDescription) -> ScpiSession:
        opened.append(
            open_session(
                at,
                backend=backend,
                timeout_s=timeout_s,
                error_query=told.commands.error,
                serial_baud=told.serial_baud,
            )
        )
        return opened[-1]

    try:
        return ScpiMeter(
            open_one(address, chosen),
            load_channels={entry.load_ohm: entry.channel for entry in metrology.load_channels},
            line_frequency_hz=metrology.line_frequency_hz,
            clock=clock,
            description=chosen,
            settings=settings,
            switch=open_one(switch_address, built_in_description()) if switch_address else None,
        )
    except InstrumentError:
        for session in opened:
            session.give_up()
        raise
