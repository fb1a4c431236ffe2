"""What a maker of a stimulator must state of its output, taken from the compiled table.

Implements docs/spec/spec-sheet.md. The rows are those of 21 CFR 882.5891(b)(3), one column per
mode at its highest level. Currents are nominal: a unit's tolerance is the policy's, and is stated
beside them, not added. What this module does not do: lay the sheet out (`spec_sheet_text`).
"""

from __future__ import annotations

from math import fsum
from typing import TYPE_CHECKING, Final

from firmware_images.errors import WaveformError
from firmware_images.waveform import Regulation
from firmware_images.waveform_analysis import (
    LOAD_OHM,
    analyze_train,
    power_density_w_cm2,
    rms_density_ma_cm2,
)
from firmware_images.waveform_phases import find_phases
from firmware_images.waveform_train import Piece, PulseTrain, build_pulse, build_repeat_period
from firmware_images.waveform_words import describe_output, describe_shape, measure_pulse_us
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_images.limits_policy import LimitsPolicy
    from firmware_images.waiver import LimitWaiver
    from firmware_images.waveform import Mode, WaveformTable

SCHEMA: Final = "ampforge.spec-sheet/1"
CLAUSE: Final = "21 CFR 882.5891(b)(3)"
LOADS_OHM: Final = (500, 2_000, 10_000)
NOT_STATED: Final = "not stated"
TEXT_CHARACTERS_MAX: Final = 300
OUTPUT_IMPEDANCE_OHM_MAX: Final = 10**12

_NA_PER_UA: Final = 1e3
_NA_US_PER_UC: Final = 1e9
_UA_PER_A: Final = 1e6
_US_PER_S: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStage:
    """What the table does not say of the hardware.

    Args:
        compliance_v: The voltage at which a current source saturates.
        source_resistance_ohm: In series with a voltage source.
        output_impedance_ohm: Parallel to a current source; `None` for an ideal one.
        impedance_monitoring: How the device watches its load, in the maker's words.
    """

    compliance_v: float
    source_resistance_ohm: float
    output_impedance_ohm: int | None = None
    impedance_monitoring: str = NOT_STATED

    def __post_init__(self) -> None:
        impedance_ohm = self.output_impedance_ohm
        if impedance_ohm is not None and not 1 <= impedance_ohm <= OUTPUT_IMPEDANCE_OHM_MAX:
            raise WaveformError(
                "the output impedance is out of range",
                expected=f"1 to {OUTPUT_IMPEDANCE_OHM_MAX} Ω",
                got=impedance_ohm,
                hint="state it in Ω, or leave it out for an ideal source",
            )
        text = self.impedance_monitoring
        if not text.strip() or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
            raise WaveformError(
                "the type of impedance monitoring is not usable",
                expected=f"1 to {TEXT_CHARACTERS_MAX} printable characters",
                got=f"{len(text)} characters",
                hint='one line, such as "continuous, output off above 10 kΩ"',
            )

    def current_ua(self, nominal_ua: float, load_ohm: float, regulation: Regulation) -> float:
        """What flows into a load when the table says `nominal_ua`.

        A current source: min(I0·Rout/(Rout+R), Vc/R). A voltage source: V0/(R+Rs), where the
        table's current is the one into 500 Ω.
        """
        if regulation is Regulation.VOLTAGE:
            series_ohm = self.source_resistance_ohm
            return nominal_ua * (LOAD_OHM + series_ohm) / (load_ohm + series_ohm)
        impedance_ohm = self.output_impedance_ohm
        share = 1.0 if impedance_ohm is None else impedance_ohm / (impedance_ohm + load_ohm)
        return min(nominal_ua * share, self.compliance_v / load_ohm * _UA_PER_A)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """The maximum output into one load.

    Args:
        load_ohm: The load.
        current_ua: Peak current, µA.
        voltage_v: Peak voltage across it.
    """

    load_ohm: int
    current_ua: float
    voltage_v: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSheet:
    """One column: a mode at its highest level. Charges, means and densities are into 500 Ω.

    Args:
        mode: Its name.
        level: The number of the highest level, from 1.
        level_ua: Its nominal peak, µA.
        waveform: The shape of a pulse, in words.
        output_modes: How pulses follow each other, in words.
        outputs: Maximum current and voltage at each load.
        pulse_duration_us: From a pulse's first current to its last.
        phase_duration_us: The longest phase.
        pulse_period_us: From one pulse to the next.
        frequency_hz: Pulses in a second, inside bursts.
        net_charge_uc: Signed charge of one pulse, µC.
        phase_charge_uc: Greatest charge of a phase, µC.
        jrms_ma_cm2: r.m.s. current density over the repeat period, mA/cm².
        jrms_burst_ma_cm2: The same inside bursts.
        iavg_ua: Mean absolute current over the repeat period, µA.
        iavg_burst_ua: The same inside bursts.
        power_density_w_cm2: Mean power density over the repeat period, W/cm².
        power_density_burst_w_cm2: The same inside bursts.
        session_s: When the device stops by itself.
        session_pulses: Whole pulses in a session; none is begun that would not end in it.
        soft_start_pulses: Pulses that rise to the level, 0 for none.
        soft_stop_pulses: Pulses that fall from it at the session's end, 0 for none.
    """

    mode: str
    level: int
    level_ua: float
    waveform: str
    output_modes: str
    outputs: tuple[LoadPoint, ...]
    pulse_duration_us: int
    phase_duration_us: float
    pulse_period_us: int
    frequency_hz: float
    net_charge_uc: float
    phase_charge_uc: float
    jrms_ma_cm2: float
    jrms_burst_ma_cm2: float
    iavg_ua: float
    iavg_burst_ua: float
    power_density_w_cm2: float
    power_density_burst_w_cm2: float
    session_s: float
    session_pulses: int
    soft_start_pulses: int
    soft_stop_pulses: int

    def to_json(self) -> dict[str, object]:
        """The column for scripts."""
        document: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        document["outputs"] = [
            {
                "load_ohm": point.load_ohm,
                "current_ua": point.current_ua,
                "voltage_v": point.voltage_v,
            }
            for point in self.outputs
        ]
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSheet:
    """The whole sheet.

    Args:
        hardware_class: Which boards the table is for.
        table_digest: SHA-256 of the compiled table.
        policy: Name and version of the limits policy.
        policy_digest: SHA-256 of its canonical bytes.
        area_cm2: The smallest contact area, which every density is for.
        gain_tolerance_percent: By how much a unit may exceed a nominal current.
        stage: The output stage.
        modes: In the order of the table.
        waivers: What of the limits is waived for this table.
    """

    hardware_class: str
    table_digest: bytes
    policy: str
    policy_digest: bytes
    area_cm2: float
    gain_tolerance_percent: float
    stage: OutputStage
    modes: tuple[ModeSheet, ...]
    waivers: tuple[LimitWaiver, ...] = ()

    def to_json(self) -> Mapping[str, object]:
        """The sheet for scripts."""
        return {
            "schema": SCHEMA,
            "clause": CLAUSE,
            "hardware_class": self.hardware_class,
            "table_digest": self.table_digest.hex(),
            "policy": self.policy,
            "policy_digest": self.policy_digest.hex(),
            "area_cm2": self.area_cm2,
            "gain_tolerance_percent": self.gain_tolerance_percent,
            "compliance_v": self.stage.compliance_v,
            "output_impedance_ohm": self.stage.output_impedance_ohm,
            "source_resistance_ohm": self.stage.source_resistance_ohm,
            "impedance_monitoring": self.stage.impedance_monitoring,
            "modes": [mode.to_json() for mode in self.modes],
            "waivers": [waiver.to_json() for waiver in self.waivers],
        }


def build_spec_sheet(
    table: WaveformTable,
    table_digest: bytes,
    policy: LimitsPolicy,
    stage: OutputStage,
    *,
    waivers: Sequence[LimitWaiver] = (),
) -> SpecSheet:
    """Computes the sheet of a table that was compiled for `policy`.

    Args:
        table: The compiled table.
        table_digest: SHA-256 of its bytes.
        policy: The limits that it was judged by; states contact area and gain tolerance.
        stage: What drives the electrodes.
        waivers: Those that it was judged with, which the sheet states.
    """
    area_cm2 = float(policy.facts["CONTACT_AREA"])
    return SpecSheet(
        hardware_class=table.hardware_class,
        table_digest=table_digest,
        policy=f"{policy.name} version {policy.version}",
        policy_digest=policy.digest,
        area_cm2=area_cm2,
        gain_tolerance_percent=float(policy.facts["GAIN_TOLERANCE"]),
        stage=stage,
        modes=tuple(_build_mode(mode, table, area_cm2, stage) for mode in table.modes),
        waivers=tuple(waivers),
    )


def _build_mode(mode: Mode, table: WaveformTable, area_cm2: float, stage: OutputStage) -> ModeSheet:
    level, tick_us = mode.levels[-1], table.tick_us
    end_ticks = min(mode.session_ticks, table.hard_stop_ticks)
    level_ua = level.peak_na / _NA_PER_UA
    outputs = []
    for load_ohm in LOADS_OHM:
        current_ua = stage.current_ua(level_ua, load_ohm, mode.regulation)
        outputs.append(
            LoadPoint(
                load_ohm=load_ohm,
                current_ua=current_ua,
                voltage_v=current_ua / _UA_PER_A * load_ohm,
            )
        )
    # A stage that saturated at 500 Ω would clip the pulse; scaling it instead would be wrong.
    share = stage.current_ua(1.0, LOAD_OHM, mode.regulation)
    if share * level_ua > outputs[0].current_ua * (1 + 1e-12):
        raise WaveformError(
            "the output stage cannot drive the peak into 500 Ω",
            expected=f"at most {outputs[0].current_ua:g} µA",
            got=f"{level_ua:g} µA",
            where=f"mode {mode.name}",
            hint="rule VC of the limits policy refuses such a table",
        )
    pulse = _scale(build_pulse(level, tick_us), share)
    period = _scale(build_repeat_period(mode, level, tick_us), share)
    phases = find_phases(pulse)
    analysis = analyze_train(period, area_cm2=area_cm2)
    burst_share = period.period_us / period.on_us
    return ModeSheet(
        mode=mode.name,
        level=len(mode.levels),
        level_ua=level_ua,
        waveform=describe_shape(level),
        output_modes=describe_output(mode, level, tick_us),
        outputs=tuple(outputs),
        pulse_duration_us=measure_pulse_us(level, tick_us),
        phase_duration_us=max(phase.duration_us for phase in phases),
        pulse_period_us=level.pulse_ticks * tick_us,
        frequency_hz=_US_PER_S / (level.pulse_ticks * tick_us),
        net_charge_uc=fsum(piece.charge_na_us for piece in pulse.pieces) / _NA_US_PER_UC,
        phase_charge_uc=analysis.phase_charge_uc,
        jrms_ma_cm2=analysis.jrms_ma_cm2,
        jrms_burst_ma_cm2=rms_density_ma_cm2(analysis.irms_burst_ua, area_cm2),
        iavg_ua=analysis.iavg_ua,
        iavg_burst_ua=analysis.iavg_ua * burst_share,
        power_density_w_cm2=analysis.power_density_w_cm2,
        power_density_burst_w_cm2=power_density_w_cm2(analysis.irms_burst_ua, area_cm2),
        session_s=end_ticks * tick_us / _US_PER_S,
        session_pulses=mode.count_pulses(level, end_ticks),
        soft_start_pulses=mode.soft_start_pulses,
        soft_stop_pulses=mode.soft_stop_pulses,
    )


def _scale(train: PulseTrain, share: float) -> PulseTrain:
    if share == 1:
        return train
    pieces = tuple(Piece(p.duration_us, p.start_na * share, p.end_na * share) for p in train.pieces)
    return PulseTrain(pieces=pieces, on_us=train.on_us)
