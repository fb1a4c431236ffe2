"""The meter's driver against PyVISA-sim, the simulated meter, and scripted misbehaviour."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import (
    InstrumentError,
    InstrumentOverloadError,
    InstrumentTimeoutError,
    MetrologySettingsError,
)
from provisioning.instrument_certificates import refuse_uncertified
from provisioning.instruments import InstrumentIdentity, parse_identity, parse_samples
from provisioning.measurement_settings import MetrologySettings
from provisioning.meter_accuracy import InstrumentCalibration
from provisioning.scpi_meter import open_meter
from provisioning.station_settings import StationSettings
from tests.provisioning.metrology_bench import NOON, PYVISA_SIM, SETTINGS, MetrologyBench

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
IDENTITY = InstrumentIdentity(
    manufacturer="EXAMPLE", model="DMM 6", serial_number="SIM0042", firmware="1.07"
)
NO_ERROR = b'0,"No error"\n'
GREETING = {b"*IDN?": b"EXAMPLE,DMM 6,SIM0042,1.07\n", b"SYST:ERR?": NO_ERROR}


def open_pyvisa_sim(number: int):
    return open_meter(
        f"USB::0x1111::0x2222::0x{number}::INSTR",
        SETTINGS,
        clock=lambda: NOON,
        backend=f"{PYVISA_SIM}@sim",
        timeout_s=2.0,
    )


@contextmanager
def scripted_meter(answers: dict[bytes, bytes | None], *, timeout_s: float = 0.5) -> Iterator:
    """A socket that answers each known line as told; `None` hangs up; others stay unanswered."""
    script = GREETING | answers
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as client, client.makefile("rb") as lines:
            for line in lines:
                answer = script.get(line.rstrip(b"\n"), b"")
                if answer is None:
                    return
                client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    meter = None
    try:
        meter = open_meter(
            f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET",
            SETTINGS,
            clock=lambda: NOON,
            timeout_s=timeout_s,
        )
        yield meter
    finally:
        if meter is not None:
            meter.close()
        listener.close()


def read_once(meter):
    meter.select_load(1_000)
    return meter.read_current(range_ua=1_000, nplc=0.02, count=1)


def test_pyvisa_sim_is_read_like_an_instrument():
    meter = open_pyvisa_sim(1234)
    try:
        assert meter.identity == IDENTITY
        meter.select_load(1_000)
        reading = meter.read_current(range_ua=1_000, nplc=2, count=1)
        assert reading.mean_na == pytest.approx(79_977)
        assert (reading.range_ua, reading.load_ohm, reading.at) == (1_000, 1_000, NOON)
        assert reading.aperture_s == pytest.approx(0.04)
        assert meter.read_aperture(range_ua=100, aperture_s=0.125, count=1).aperture_s == 0.125
    finally:
        meter.close()


def test_pyvisa_sims_error_queue_is_read_and_nothing_is_used():
    meter = open_pyvisa_sim(1234)
    try:
        meter.select_load(1_000)
        with pytest.raises(InstrumentError, match=r"-113 Undefined header"):
            meter.read_current(range_ua=1_000, nplc=3, count=1)
        with pytest.raises(InstrumentError, match=r"reports an error"):
            meter.read_current(range_ua=1_000_000, nplc=2, count=1)
        assert meter.read_current(range_ua=1_000, nplc=2, count=1).count == 1
        with pytest.raises(InstrumentError, match="reports an error"):
            meter.select_load(10_000)
        with pytest.raises(InstrumentError, match="no load"):
            meter.read_current(range_ua=1_000, nplc=2, count=1)
    finally:
        meter.close()


def test_an_instrument_without_a_serial_number_is_refused():
    with pytest.raises(InstrumentError, match="does not identify itself"):
        open_pyvisa_sim(1236)


def test_the_simulated_meter_reads_a_known_current():
    with MetrologyBench() as bench:
        bench.meter.select_load(5_000)
        bench.set_output_code(2_048 + 200)
        reading = bench.meter.read_current(range_ua=1_000, nplc=10, count=8)
        assert reading.mean_na == pytest.approx(
            bench.stage.current_na(2_248, 5_000), rel=1e-3, abs=100
        )
        assert reading.count == len(reading.samples_na) == 8
        assert 0 < reading.sd_na < 200


def test_the_simulated_meter_overloads_on_a_range_that_is_too_small():
    with MetrologyBench() as bench:
        bench.meter.select_load(1_000)
        bench.set_output_code(4_000)
        with pytest.raises(InstrumentOverloadError, match="overloaded"):
            bench.meter.read_current(range_ua=100, nplc=1, count=2)
        assert bench.meter.read_current(range_ua=10_000, nplc=1, count=2).mean_na > 900_000


def test_a_load_that_the_fixture_lacks_is_refused():
    with MetrologyBench() as bench, pytest.raises(InstrumentError, match="no such load"):
        bench.meter.select_load(47)


@pytest.mark.parametrize(
    ("answer", "error", "telling"),
    [
        (b"9.9E37\n", InstrumentOverloadError, "overloaded"),
        (b"-9.90000000E+37\n", InstrumentOverloadError, "overloaded"),
        (b"9.91E37\n", InstrumentError, "not a current or voltage"),
        (b"nan\n", InstrumentError, "not a current or voltage"),
        (b"+1.0E-04,+1.1E-04\n", InstrumentError, "another number of samples"),
        (b"+1.0E-0", InstrumentTimeoutError, "does not answer"),
        (b"\xff\xfe\n", InstrumentError, "cut off or damaged"),
        (b"", InstrumentTimeoutError, "does not answer"),
        (b"1" * 70_000, InstrumentError, "cut off or damaged|does not end"),
        (None, InstrumentTimeoutError, "does not answer"),
    ],
)
def test_a_bad_answer_is_our_error_and_never_a_value(answer, error, telling):
    with scripted_meter({b"READ?": answer}) as meter, pytest.raises(error, match=telling):
        read_once(meter)


@pytest.mark.parametrize("answer", [b"+1.0E-01\n", b"-1.0E+30\n"])
def test_a_number_that_no_range_can_show_is_refused_as_of_another_unit(answer):
    told = pytest.raises(InstrumentError, match="more than its range can show")
    with scripted_meter({b"READ?": answer}) as meter, told:
        read_once(meter)


def test_an_answer_that_trickles_in_without_an_end_has_a_deadline():
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        with suppress(OSError), listener.accept()[0] as client, client.makefile("rb") as lines:
            lines.readline()
            while not stop.wait(0.002):
                client.sendall(b"A")

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        with pytest.raises(InstrumentTimeoutError, match="does not end"):
            open_meter(
                f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET",
                SETTINGS,
                clock=lambda: NOON,
                timeout_s=0.5,
            )
    finally:
        stop.set()
        listener.close()
        thread.join()


def test_after_a_timeout_the_session_is_over_because_the_late_answer_would_be_taken_for_the_next():
    with scripted_meter({b"READ?": b""}) as meter:
        with pytest.raises(InstrumentTimeoutError):
            read_once(meter)
        with pytest.raises(InstrumentError, match="session with the instrument has ended"):
            read_once(meter)


def test_an_error_queue_that_never_empties_does_not_hang():
    with (
        pytest.raises(InstrumentError, match="-350 Queue overflow"),
        scripted_meter({b"SYST:ERR?": b'-350,"Queue overflow"\n'}),
    ):
        pass


def test_an_error_queue_that_makes_no_sense_is_refused():
    with (
        pytest.raises(InstrumentError, match="error queue cannot be read"),
        scripted_meter({b"SYST:ERR?": b"OK\n"}),
    ):
        pass


@pytest.mark.parametrize("address", ["TCPIP0::127.0.0.1::1::SOCKET", "nonsense", "GPIB0::99::X"])
def test_an_instrument_that_cannot_be_opened_is_our_error(address):
    with pytest.raises(InstrumentError, match=r"cannot be opened|connection to the instrument"):
        open_meter(address, SETTINGS, clock=lambda: NOON, timeout_s=0.1)


@given(st.text(max_size=60), st.integers(1, 3))
def test_arbitrary_answers_raise_only_our_errors(text, count):
    for parse in (
        lambda: parse_samples(text, count=count, where="meter"),
        lambda: parse_identity(text, where="meter"),
    ):
        with suppress(InstrumentError):
            parse()


@given(st.lists(st.floats(-1e-2, 1e-2), min_size=1, max_size=5))
def test_samples_are_read_as_they_are_written(values):
    text = ",".join(f"{value:+.8E}" for value in values)
    samples = parse_samples(text, count=len(values), where="meter")
    assert samples == pytest.approx(values, rel=1e-7, abs=1e-18)


def test_an_instrument_needs_a_certificate_that_is_not_overdue_where_certificates_are_kept():
    settings = MetrologySettings(
        instruments=(
            InstrumentCalibration(
                serial_number="SIM0042", certificate="K-2026-118", due=date(2026, 12, 31)
            ),
        )
    )
    assert refuse_uncertified(IDENTITY, settings, today=date(2026, 12, 31)) == "K-2026-118"
    with pytest.raises(InstrumentError, match="overdue"):
        refuse_uncertified(IDENTITY, settings, today=date(2027, 1, 1))
    stranger = InstrumentIdentity(manufacturer="E", model="D", serial_number="X1", firmware="")
    with pytest.raises(InstrumentError, match="no calibration certificate"):
        refuse_uncertified(stranger, settings, today=date(2026, 6, 1))
    with pytest.raises(InstrumentError, match="no calibration certificate"):
        refuse_uncertified(stranger, SETTINGS, today=date(2026, 6, 1))
    simulated = InstrumentIdentity(
        manufacturer="Ampforge", model="SM-6500", serial_number="X1", firmware=""
    )
    assert refuse_uncertified(simulated, SETTINGS, today=date(2026, 6, 1)) is None
    with pytest.raises(InstrumentError, match="no calibration certificate"):
        refuse_uncertified(simulated, settings, today=date(2026, 6, 1))


@pytest.mark.parametrize(
    ("change", "telling"),
    [
        ({"loads_ohm": [10_000, 1_000]}, "smaller"),
        ({"working_span_na": 990_000}, "does not hold"),
        ({"load_channels": [{"load_ohm": 1_000, "channel": 1}]}, "no channel for"),
        (
            {"load_channels": [{"load_ohm": 1_000, "channel": n} for n in (1, 2)]},
            "named twice",
        ),
        (
            {
                "accuracy": [
                    {"range_ua": n, "reading_percent": 0.1, "range_percent": 0.1}
                    for n in (1_000, 100)
                ]
            },
            "ascending",
        ),
        ({"guard_band": 1}, "not permitted"),
        ({"leakage_na": 1e300}, "less than or equal"),
        ({"temperature_span_c": 1e160}, "less than or equal"),
        ({"full_scale_na": 10**40}, "less than or equal"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(change, telling):
    with pytest.raises(ValueError, match=telling):
        MetrologySettings.model_validate_json(json.dumps(change))


@pytest.mark.parametrize(
    ("change", "telling"),
    [
        ({"nplc": 1e12}, "from 0.0001 to 1000"),
        ({"aperture_max_s": 1e-9}, "aperture_max_s"),
        ({"repeatability_share_max": 1e-300}, "from 0.01 to 1"),
        ({"inl_allowance_lsb": 1e11}, "from 0.001 to 16"),
        ({"calibration_limit_percent": 1e9}, "from 0.001 to 100"),
        ({"working_span_na": 1}, "below 6 steps"),
        ({"idle_limit_na": 10**9}, "above full_scale_na"),
    ],
)
def test_settings_that_no_line_has_are_refused_where_they_are_written_but_stay_readable(
    change, telling
):
    settings = MetrologySettings.model_validate_json(json.dumps(change))
    with pytest.raises(ValueError, match=telling):
        StationSettings(metrology=settings)


def test_a_current_beyond_every_range_is_refused():
    with pytest.raises(MetrologySettingsError, match="no range"):
        SETTINGS.accuracy_for(10_000_001)
    with pytest.raises(MetrologySettingsError, match="no such range"):
        SETTINGS.accuracy_of_range(42)
    assert SETTINGS.accuracy_for(-100_000).range_ua == 100
    assert SETTINGS.accuracy_for(100_001).range_ua == 1_000


def test_an_address_that_cannot_be_opened_says_what_to_do():
    """In a process without PyUSB: PyVISA-py asks for it when it is imported."""
    hints = {
        "USB0::0x2A8D::0x0101::MY12345678::INSTR": "`pip install 'ampforge[usbtmc]'`",
        "USB0::0x2A8D::0x0101::MY12345678::0::INSTR": "`pip install 'ampforge[usbtmc]'`",
        "USB0::0x2A8D::NOPE": "write it as TCPIP0::HOST::5025::SOCKET",
        "nonsense": "write it as TCPIP0::HOST::5025::SOCKET",
        "ASRL/dev/none-such::INSTR": "check power, cable and address",
    }
    program = (
        "import sys; sys.modules['usb'] = None\n"
        "from provisioning.errors import InstrumentError\n"
        "from provisioning.scpi_session import open_session\n"
        "for address in sys.argv[1:]:\n"
        "    try:\n"
        "        open_session(address, backend='@py', timeout_s=0.2)\n"
        "    except InstrumentError as error:\n"
        "        print(error.hint)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *hints], capture_output=True, text=True, check=True,
        cwd=ROOT,
    )  # fmt: skip
    for hint, line in zip(hints.values(), ended.stdout.splitlines(), strict=True):
        assert hint in line
