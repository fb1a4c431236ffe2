"""What is wrong with a simulated board: nothing, unless a plan says so.

A plan is data, fixed before the board starts. Flash faults are obeyed by `flash`, analog faults by
`analog`, the brown-out by `board`, those of its cable by `link_noise`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class PowerCutError(Exception):
    """Raised inside a simulated board at the moment its plan cuts the power.

    It is no refusal, so that nothing that handles refusals outlives the board.
    """


class AnalogFault(StrEnum):
    """A defect of the output stage, the fixture, or the way the DAC is wired."""

    STUCK_BIT = "stuck-bit"
    """DAC bit 4 (16 codes) always reads as set."""
    SWAPPED_POLARITY = "swapped-polarity"
    OPEN_SENSE = "open-sense"
    """The regulator sees no current and drives to its compliance."""
    LOW_COMPLIANCE = "low-compliance"
    """5 V instead of 12 V."""
    GAIN_TIMES_10 = "gain-times-10"
    """A sense resistor ten times too small: mA taken for µA."""
    HIGH_OFFSET = "high-offset"
    """Offset of +9 µA."""
    HIGH_NONLINEARITY = "high-nonlinearity"
    """Integral nonlinearity of 8 LSB."""
    FIXTURE_DRIFT = "fixture-drift"
    """The fixture's shunt drifts by 1 % an hour."""


class LinkFault(StrEnum):
    """What a bad cable does to bytes."""

    DROP = "drop"
    """A few bytes are lost."""
    DUPLICATE = "duplicate"
    """A few bytes come twice."""
    CORRUPT = "corrupt"
    """One bit of a byte is another."""
    DELAY = "delay"
    """Nothing travels for up to a quarter of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFaults:
    """What is wrong with the cable of one board, in both directions.

    Attributes:
        seed: What positions and kinds are drawn from; the same bytes meet the same faults.
        kinds: What may happen to bytes.
        mean_bytes_between: How far apart faults are, on average; `None`: there are none.
        fault_count_max: How many faults there are in all, until the line is made again.
        hang_after_bytes: After so many bytes nothing travels any more until the port is opened
            again, which is when the cable is reseated. Once. `None`: never.
        max_baud: Above this rate, all bytes are noise. `None`: any rate.
        leaves_bus_at_reset: The port's connection ends when the board is reset into its
            application, as with a board on its own USB plug.
    """

    seed: int = 0
    kinds: frozenset[LinkFault] = frozenset(LinkFault)
    mean_bytes_between: int | None = None
    fault_count_max: int = 1_000_000
    hang_after_bytes: int | None = None
    max_baud: int | None = None
    leaves_bus_at_reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Everything that is wrong with one board.

    Attributes:
        analog: Defects of the output.
        dead_sectors: Flash sector numbers that no erase or write changes any more.
        power_cut_after_bytes: The power fails once, when this many bytes were erased or written;
            the operation in progress stays half done. `None`: never.
        cuts_power_between_fuses: The power fails after the HMAC key was burned, and before its
            protection is. Once.
        brown_out_above_na: The board resets when a static output above this is switched on.
        failing_self_tests: Versions of the application whose self-test fails.
        link: What is wrong with its cable. `None`: nothing.
        has_open_lead: A lead between the output and the fixture is broken.
    """

    analog: frozenset[AnalogFault] = field(default_factory=frozenset)
    dead_sectors: frozenset[int] = field(default_factory=frozenset)
    power_cut_after_bytes: int | None = None
    cuts_power_between_fuses: bool = False
    brown_out_above_na: int | None = None
    failing_self_tests: frozenset[str] = field(default_factory=frozenset)
    link: LinkFaults | None = None
    has_open_lead: bool = False


NO_FAULTS = FaultPlan()
