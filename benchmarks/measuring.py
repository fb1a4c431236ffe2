"""How long an instrument is busy with a unit: calibration and verification of the example product.

Simulated units with their instruments in this process; the time is the simulator's virtual clock,
which moves only while the meter integrates or the converter settles, so it does not depend on the
machine. Beside it the same figure from the results alone, as `station run` prints it, the same with
whole repeat periods and every level, and what measuring costs this machine's processor.

    python benchmarks/measuring.py [--units N]

Exit code 1 if the mean is over 15 s, the two figures differ by more than 1 %, or a unit with a
good converter does not pass.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from firmware_images.limits import load_limits
from firmware_images.waveform_files import build_table
from provisioning.calibration import calibrate_unit
from provisioning.instrument_time import MeasuringPace, measuring_pace
from provisioning.measurement_choices import LevelChoice, WaveformCheck
from provisioning.measurement_settings import MetrologySettings
from provisioning.simulator.analog import draw_truth
from provisioning.simulator.output_bench import SimulatedBench
from provisioning.uncertainty import Outcome
from provisioning.verification import verify_unit

TARGET_S = 15.0
AGREEMENT = 0.01
SLOTS = 4
FLARE = Path(__file__).parents[1] / "examples" / "flare"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def measure(settings: MetrologySettings, count: int) -> tuple[float, float, float, int]:
    """Return virtual seconds a unit, the same from the results, processor seconds, and passes."""
    table = build_table(FLARE / "waveforms.toml", load_limits(FLARE / "limits.toml"), "flare-c3")
    virtual_s, results, passed = [], [], 0
    began_s = time.process_time()
    for index in range(count):
        mac = index.to_bytes(6, "big")
        with SimulatedBench(
            draw_truth(mac), seed=mac.hex(), settings=settings, table=table, clock=lambda: NOON
        ) as bench:
            calibration = calibrate_unit(
                bench, bench.meter, settings, progress=lambda *_: None, clock=lambda: NOON
            )
            if not calibration.is_accepted:
                continue  # too much nonlinearity, by design one in fifty
            bench.gain_ppm, bench.offset_na = calibration.gain_ppm, calibration.offset_na
            verification = verify_unit(
                bench,
                bench.meter,
                table,
                settings,
                progress=lambda *_: None,
                clock=lambda: NOON,
                calibration=calibration,
            )
            virtual_s.append(bench.stage.time_s)
            results.append((calibration, verification))
            passed += verification.outcome is Outcome.PASS
    processor_s = (time.process_time() - began_s) / len(results)
    pace = measuring_pace(results, slots=SLOTS)
    assert pace is not None
    return statistics.fmean(virtual_s), pace.unit_s, processor_s, len(results) - passed


def main() -> int:
    """Measure units in windows and whole, print both, and judge the first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--units", type=int, default=20)
    count = parser.parse_args().units
    whole = MetrologySettings(levels=LevelChoice.ALL, waveform_check=WaveformCheck.WHOLE)
    is_good = True
    for name, settings in (("windows, three levels", MetrologySettings()), ("whole, all", whole)):
        virtual_s, stated_s, processor_s, refused = measure(settings, count)
        pace = MeasuringPace(unit_s=virtual_s, slots=SLOTS)
        print(f"{name}: {pace} ({stated_s:.2f} s from the results, {processor_s:.2f} s processor)")
        if settings is not whole:
            is_good = virtual_s <= TARGET_S and refused == 0
        is_good &= abs(stated_s - virtual_s) <= AGREEMENT * virtual_s
    print(
        "good" if is_good else f"MISSED: at most {TARGET_S:g} s a unit, and every good unit passes"
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
