"""What each rule means, in plain words, for the person who answers for the limits.

The one source of these texts: `ampforge waveform check --explain RULE` prints them, and
docs/how-to/limits-in-plain-words.md is made from them. What a rule computes is in `limits_rules`
and `limits_rules_electrical`; which figure limits it is in the policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleText:
    """One rule explained.

    Args:
        rule: Its id.
        title: What it limits.
        meaning: What it protects from, and what breaking it would look like.
        clause: Where the rule comes from; where its figure comes from is in the policy.
        formula: What must hold.
        method: How the value is computed.
        limits: Keys of the policy's limits that it uses.
        facts: Keys of the policy's facts that it uses.
        has_claims: Whether each mode's claim counts, too.
    """

    rule: str
    title: str
    meaning: str
    clause: str
    formula: str
    method: str
    limits: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    has_claims: bool = False


RULE_TEXTS: Final[tuple[RuleText, ...]] = (
    RuleText(
        rule="TICK",
        title="Every time is a whole number of ticks",
        meaning=(
            "The device counts time in ticks. A duration that is not a whole number of them would "
            "have to be rounded, and a positive phase that is rounded differently from the "
            "negative one leaves charge in the skin at every pulse. So nothing is rounded: the "
            "file is refused, and the error names the durations on either side. For the same "
            "reason a burst, a reversal or a soft start may not end inside a pulse, a session must "
            "hold at least one, levels must rise, and a pulse must end at zero, so that stopping "
            "is never a step."
        ),
        clause="design of the device: docs/spec/waveform-table.md §1 and §10",
        formula="duration / tick is whole; burst, reversal and ramp / pulse period are whole; "
        "last sample = 0",
        method=(
            "Exact decimals, as written in the file. A table that exists has passed; reading a "
            "compiled table checks it again."
        ),
    ),
    RuleText(
        rule="HEADER",
        title="The firmware enforces what this policy says",
        meaning=(
            "A table carries three safeguards that the firmware applies whatever a waveform says: "
            "the largest current, the longest session, and the contact area that the densities "
            "were judged for. They must be the policy's own figures. A table with another clamp "
            "was made for another policy, or by hand."
        ),
        clause="design of the device: docs/spec/policy-and-approval.md §7",
        formula="clamp = PEAK, hard stop = SESSION, contact area and version as in the policy",
        method="The table's header is compared with the policy; the value counts the differences.",
        limits=("PEAK", "SESSION"),
        facts=("CONTACT_AREA",),
    ),
    RuleText(
        rule="MODE",
        title="The policy knows the mode",
        meaning=(
            "Whether a mode must be balanced, and what its output stage regulates, is quality's "
            "decision, not the author's. A waveform that calls itself galvanic would escape rule "
            "BALANCE; so the policy names each mode and says which kind it is, and a mode that it "
            "does not name cannot be released."
        ),
        clause="design of the device: docs/spec/policy-and-approval.md §7",
        formula="the policy names the mode, with the same balance and regulation",
        method="Statement by statement; the value counts the differences.",
    ),
    RuleText(
        rule="PEAK",
        title="The largest current",
        meaning=(
            "No instant of any level may exceed what the labelling claims for the mode, with the "
            "tolerance that a unit is allowed, nor the absolute ceiling that the firmware clamps "
            "at. This is the rule that catches a level typed as 4000 instead of 400."
        ),
        clause="the product's own claim; the ceiling is a design decision",
        formula="peak ≤ claim(mode) · (1 + GAIN_TOLERANCE/100), and peak ≤ PEAK",
        method=(
            "The largest absolute value at the ends of the level's segments: a linear segment has "
            "its extremes there."
        ),
        limits=("PEAK",),
        facts=("GAIN_TOLERANCE",),
        has_claims=True,
    ),
    RuleText(
        rule="JRMS",
        title="Current density",
        meaning=(
            "The same current warms and irritates more where the contact is smaller. The density "
            "is that of the smallest contact the product allows, an electrode half lifted from "
            "the skin, not of the nominal electrode."
        ),
        clause="IEC 60601-2-10: the instructions for use must advise attention above 2 mA/cm²",
        formula="Irms / (1000 · CONTACT_AREA) ≤ JRMS",
        method=(
            "Irms is √(∫i²/T) in closed form over each linear segment, over the whole repeat "
            "period and inside bursts; the larger of both counts."
        ),
        limits=("JRMS",),
        facts=("CONTACT_AREA",),
    ),
    RuleText(
        rule="JDC",
        title="Direct-current density",
        meaning=(
            "Direct current makes acid under one electrode and alkali under the other. What counts "
            "is not the mean over a whole treatment but the worst second: a train that reverses "
            "every minute has a mean of zero and burns all the same. The unit's allowed gain "
            "error and leftover offset are included, because the skin gets them too."
        ),
        clause="custom of iontophoresis; the policy states its own source",
        formula="(Idc over the worst second · (1 + GAIN_TOLERANCE/100) + RESIDUAL_OFFSET) "
        "/ (1000 · CONTACT_AREA) ≤ JDC",
        method=(
            "The largest absolute mean over any window of one second that slides over the endless "
            "train, reversals included. It is exact: the mean can only be extreme where the window "
            "begins or ends with a segment, or where its two ends carry the same current. Where a "
            "mode has a soft start or stop, every second of a session is looked at as well."
        ),
        limits=("JDC",),
        facts=("CONTACT_AREA", "GAIN_TOLERANCE", "RESIDUAL_OFFSET"),
    ),
    RuleText(
        rule="BALANCE",
        title="What goes in comes out",
        meaning=(
            "A balanced mode must take back with the second phase what the first one delivered. "
            "Two things are asked. Each pulse by itself must be balanced, apart from a rounding "
            "residue. And the direct current that is left must stay below a ceiling when the "
            "unit's own offset and its drift are added: an offset of 5 µA turns the most "
            "perfectly balanced wave into 5 µA of direct current. The ceiling may not be reached. "
            "Each pulse of a soft start or stop is asked for the same, after its rounding. "
            "Galvanic modes are direct current on purpose; JDC and DOSE limit them instead."
        ),
        clause="design decision",
        formula="|net charge of a pulse| ≤ max(BALANCE_CHARGE_SHARE % of its phase charge, "
        "BALANCE_CHARGE); |Idc| + RESIDUAL_OFFSET + OFFSET_DRIFT < BALANCE_DC",
        method=(
            "Charges are sums of d·(a+b)/2 over the quantised segments, exact in nanoamps and "
            "microseconds. Idc is the larger of the mean over one burst and over the repeat "
            "period: a polarity that flips hides it from the whole cycle, not from the skin in "
            "between. A pulse that holds a whole train is looked at part by part between its long "
            "rests, so that the first phase of a pulse cut short is found although a mirrored "
            "burst later pays it back."
        ),
        limits=("BALANCE_CHARGE_SHARE", "BALANCE_CHARGE", "BALANCE_DC"),
        facts=("RESIDUAL_OFFSET", "OFFSET_DRIFT"),
    ),
    RuleText(
        rule="DOSE",
        title="How much of one polarity in a row",
        meaning=(
            "Electrolysis adds up until the current reverses. This rule limits the longest stretch "
            "of one polarity within a session, rests included, because resting does not undo "
            "anything. A galvanic mode without reversal is one stretch as long as its session."
        ),
        clause="design decision",
        formula="∫|i| dt · (1 + GAIN_TOLERANCE/100) + RESIDUAL_OFFSET · duration ≤ DOSE",
        method=(
            "Every run from the first moment of one sign to the first moment of the other, within "
            "a session of whole pulses, its soft start and stop included; the greatest counts, in "
            "milliamp-minutes."
        ),
        limits=("DOSE",),
        facts=("GAIN_TOLERANCE", "RESIDUAL_OFFSET"),
    ),
    RuleText(
        rule="PD",
        title="Power density",
        meaning=(
            "How much the skin under the smallest contact is warmed, for the standard load of "
            "500 Ω. Microcurrents stay thousands of times below; a file in milliamps does not."
        ),
        clause="FDA guidance for powered muscle stimulators",
        formula="(Irms · 10⁻⁶)² · 500 Ω / CONTACT_AREA ≤ PD",
        method="Irms as for JRMS: the larger of the whole repeat period and inside bursts.",
        limits=("PD",),
        facts=("CONTACT_AREA",),
    ),
    RuleText(
        rule="SHANNON",
        title="Charge and charge density of short pulses",
        meaning=(
            "Shannon drew a line between pulses that damaged nerve tissue and pulses that did not, "
            "by charge and charge density together. His data are cortical pulses of 0.4 ms, so "
            "the line is judged for phases of up to 1 ms only. For the long phases of skin "
            "treatment the figure is printed by `waveform analyze` as information; it means "
            "nothing there, and a value above the line is not a failure."
        ),
        clause="R. V. Shannon, A model of safe levels for electrical stimulation, IEEE 1992",
        formula="k = log₁₀(Q² / CONTACT_AREA) < SHANNON, Q in µC per phase of up to 1 ms",
        method=(
            "Q is the greatest ∫|i| of a phase that lasts 1 ms at most. Without such a phase the "
            "rule says nothing."
        ),
        limits=("SHANNON",),
        facts=("CONTACT_AREA",),
    ),
    RuleText(
        rule="IEC_RMS",
        title="The standard's ceilings on effective current",
        meaning=(
            "The standard for nerve and muscle stimulators limits direct current and, by "
            "frequency, alternating current. These ceilings are a thousand times above a "
            "microcurrent device. They are here because they catch mistakes of units: milliamps "
            "for microamps, or milliseconds for microseconds."
        ),
        clause="IEC 60601-2-10, limitation of output into 500 Ω; DC and AC apart",
        formula="Idc ≤ IEC_RMS_DC; √(Irms² - Idc²) ≤ IEC_RMS_400HZ up to 400 Hz, "
        "IEC_RMS_1500HZ up to 1500 Hz, IEC_RMS_ABOVE above",
        method=(
            "DC is the mean of the worst second, as for JDC but nominal. The frequency is that of "
            "the pulses. Irms is the larger of the whole repeat period and inside bursts."
        ),
        limits=("IEC_RMS_DC", "IEC_RMS_400HZ", "IEC_RMS_1500HZ", "IEC_RMS_ABOVE"),
    ),
    RuleText(
        rule="PULSE_E",
        title="Energy of a single pulse, and open-circuit voltage",
        meaning=(
            "A single pulse must not carry an energy that hurts, and electrodes that hang in the "
            "air must not carry a dangerous voltage. Like IEC_RMS, this catches errors of units "
            "rather than of judgement."
        ),
        clause="IEC 60601-2-10: energy of a pulse shorter than 0.1 s; open-circuit voltage",
        formula="500 Ω · ∫i² of a phase shorter than 0.1 s ≤ PULSE_E; COMPLIANCE ≤ PULSE_V",
        method="∫i² in closed form over the phase; the output stage cannot exceed its supply.",
        limits=("PULSE_E", "PULSE_V"),
        facts=("COMPLIANCE",),
    ),
    RuleText(
        rule="SLOPE",
        title="How suddenly the current changes",
        meaning=(
            "A current that rises slowly is not felt; the same current switched on at once is a "
            "prick. Modes that promise to be gentle must ramp. The policy says for each mode "
            "whether the rule applies; a mode of short rectangular pulses is exempt by decision, "
            "not by accident."
        ),
        clause="design decision, for comfort",
        formula="|Δi| / Δt ≤ SLOPE; a step counts as taking one tick",
        method=(
            "The steepest of all segments and of the steps between them, the step from rest into "
            "the first sample included."
        ),
        limits=("SLOPE",),
    ),
    RuleText(
        rule="SESSION",
        title="When it stops by itself",
        meaning=(
            "A person who falls asleep must not be treated all night. Each mode states its "
            "session; none may be longer than this, and the firmware stops at it in any mode. It "
            "stops between pulses: one that would not end in time is not begun, so no session "
            "ends with half a pulse in the skin."
        ),
        clause="comparable cleared devices (K201680 stops after 20 minutes)",
        formula="session ≤ SESSION",
        method="The mode's session time as the table has it.",
        limits=("SESSION",),
    ),
    RuleText(
        rule="VC",
        title="The output can do what the table says",
        meaning=(
            "A current source can push its current through dry skin only as long as its supply "
            "suffices. Above that it saturates: the wave is cut at the top, its phases lose "
            "different amounts, and neither the claim nor the balance holds. So the highest "
            "level must be reachable in the highest load."
        ),
        clause="Ohm's law",
        formula="peak · VC_LOAD ≤ COMPLIANCE; regulation voltage: "
        "peak · (500 Ω + SOURCE_RESISTANCE) ≤ COMPLIANCE",
        method="The level's peak, nominal, times the load.",
        limits=("VC_LOAD",),
        facts=("COMPLIANCE", "SOURCE_RESISTANCE"),
    ),
)
"""In the order in which they are judged."""

FACT_TEXTS: Final[Mapping[str, str]] = {
    "CONTACT_AREA": "the smallest contact between electrode and skin",
    "GAIN_TOLERANCE": "by how much a unit may exceed its nominal current",
    "RESIDUAL_OFFSET": "the direct current that calibration may leave in a unit",
    "OFFSET_DRIFT": "what temperature may add to that offset",
    "COMPLIANCE": "the least supply of the output stage",
    "SOURCE_RESISTANCE": "the series resistance of a voltage-regulated output",
}
