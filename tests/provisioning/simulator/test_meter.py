from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.errors import SimulatorError
from provisioning.simulator.analog import AnalogTruth, OutputStage
from provisioning.simulator.meter import SimulatedMeter
from provisioning.simulator.meter_server import MeterServer


def make_meter(code: int = 3072, **truth: float) -> SimulatedMeter:
    output = OutputStage(AnalogTruth(**truth))
    output.set_code(code)
    return SimulatedMeter(output, serial="SM0001")


def readings(meter: SimulatedMeter) -> list[float]:
    answer = meter.execute("READ?")
    assert answer is not None
    return [float(part) for part in answer.split(",")]


def error(meter: SimulatedMeter) -> str:
    answer = meter.execute("SYST:ERR?")
    assert answer is not None
    return answer


def test_it_says_who_it_is():
    assert make_meter().execute("*IDN?") == "Ampforge,SM-6500,SM0001,1.0"


def test_a_reading_is_the_current_within_the_meters_specification():
    meter = make_meter()
    meter.execute("CONF:CURR:DC 1E-3;:SENS:CURR:DC:NPLC 10;:SAMP:COUN 5;:ROUT:CLOS (@101)")
    values = readings(meter)
    assert len(values) == 5
    assert values == pytest.approx([500e-6] * 5, abs=500e-6 * 0.0005 + 1e-3 * 0.00005 + 1e-8)
    assert error(meter) == '+0,"No error"'


def test_its_hidden_error_is_the_same_each_time_and_differs_between_meters():
    def mean(serial: str) -> float:
        output = OutputStage(AnalogTruth())
        output.set_code(3072)
        meter = SimulatedMeter(output, serial=serial)
        meter.execute("CONF:CURR:DC 1E-3;SAMP:COUN 20;ROUT:CLOS (@101)")
        return sum(readings(meter)) / 20

    assert mean("A") == mean("A")
    assert mean("A") != pytest.approx(mean("B"), abs=1e-9)


def test_overload_is_told_and_auto_range_finds_the_range():
    meter = make_meter()
    meter.execute("CONF:CURR:DC 1E-4;ROUT:CLOS (@101)")
    assert readings(meter) == [9.9e37]
    meter.execute("SENS:CURR:DC:RANG:AUTO ON")
    assert readings(meter) == pytest.approx([500e-6], rel=1e-3)
    assert meter.execute("CURR:RANG?") == "+1.00000000E-03"


def test_channels_are_loads_in_parallel_and_none_is_an_open_circuit():
    meter = make_meter(compliance_v=1.0)
    meter.execute("CONF:CURR:DC 1E-3")
    assert readings(meter) == pytest.approx([0.0], abs=1e-7)
    meter.execute("ROUT:CLOS (@102)")
    assert readings(meter) == pytest.approx([100e-6], rel=2e-3)
    meter.execute("ROUTE:CLOSE (@100)")
    assert readings(meter) == pytest.approx([300e-6], rel=2e-3)
    assert meter.execute("ROUT:CLOS? (@100,102)") == "1,1"
    meter.execute("ROUT:OPEN (@100:102)")
    assert meter.execute("ROUT:CLOS? (@102)") == "0"


def test_reset_opens_the_fixture_and_clears_the_settings():
    meter = make_meter()
    meter.execute("CONF:CURR:DC 1E-4;SAMP:COUN 7;ROUT:CLOS (@101);CURR:NPLC 1")
    meter.execute("*RST")
    assert meter.execute("SAMP:COUN?") == "+1"
    assert meter.execute("ROUT:CLOS? (@101)") == "0"
    assert meter.execute("SENS:CURR:DC:NPLC?") == "+1.00000000E+01"


def test_an_aperture_lets_virtual_time_pass():
    output = OutputStage(AnalogTruth())
    output.set_code(3000)
    meter = SimulatedMeter(output, serial="A")
    meter.execute("ROUT:CLOS (@101);SENS:CURR:DC:APER 12;SAMP:COUN 3")
    before_s = output.time_s
    readings(meter)
    assert output.time_s - before_s == pytest.approx(36)
    assert meter.execute("CURR:DC:APER?") == "+1.20000000E+01"


def test_measure_configures_and_reads():
    meter = make_meter()
    meter.execute("ROUT:CLOS (@101)")
    answer = meter.execute("MEAS:CURR:DC? AUTO")
    assert answer is not None
    assert float(answer) == pytest.approx(500e-6, rel=1e-3)
    assert meter.execute("CONF?") == '"CURR:DC +1.00000000E-03"'


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("NONSENSE", -113),
        ("CURR:DC:NPLC", -109),
        ("CURR:DC:NPLC abc", -104),
        ("CURR:DC:NPLC 1000", -222),
        ("CURR:RANG:AUTO MAYBE", -224),
        ("CURR:RANG:AUTO", -109),
        ("*IDN? 1", -108),
        ("ROUT:CLOS 101", -102),
        ("ROUT:CLOS", -109),
        ("ROUT:CLOS (@999)", -222),
        ("ROUT:CLOS (@100:999)", -222),
        ("ROUT:CLOS (@100:101:102)", -102),
        ("CURR:DC:NPLC nan", -222),
        ("CO!NF", -102),
        ("*" + "A" * 2000, -102),
    ],
)
def test_a_wrong_command_goes_to_the_error_queue_and_changes_nothing(command, number):
    meter = make_meter()
    assert meter.execute(command) is None
    assert meter.execute("*STB?") == "+4"
    assert error(meter).startswith(f"{number},")
    assert error(meter) == '+0,"No error"'
    assert meter.execute("ROUT:CLOS? (@100,101)") == "0,0"


def test_the_error_queue_overflows_honestly_and_can_be_cleared():
    meter = make_meter()
    for _ in range(30):
        meter.execute("BAD")
    errors = [error(meter) for _ in range(20)]
    assert errors[0].startswith("-113,")
    assert errors[-1].startswith("-350,")
    meter.execute("BAD;*CLS")
    assert error(meter).startswith("-113,"), "a wrong command ends its line"
    meter.execute("BAD")
    meter.execute("*CLS")
    assert error(meter) == '+0,"No error"'


def test_housekeeping_commands_are_answered():
    meter = make_meter()
    assert meter.execute("*OPC?;*TST?;*ESR?;SYST:VERS?") == "1;+0;+0;1999.0"
    assert meter.execute("*OPC;*WAI;*ESE 1;*SRE 0;CURR:RANG MIN;;") is None
    assert error(meter) == '+0,"No error"'


@given(st.text(max_size=60))
def test_no_line_of_text_stops_the_meter(line):
    meter = make_meter()
    meter.execute(line)
    assert meter.execute("*IDN?") is not None


def test_pyvisa_talks_to_it_over_tcp():
    import pyvisa

    output = OutputStage(AnalogTruth())
    output.set_code(3072)
    meter = SimulatedMeter(output, serial="SM0007")
    server = MeterServer(meter, lock=threading.RLock(), host="127.0.0.1", port=0)
    server.start()
    try:
        manager = pyvisa.ResourceManager("@py")
        for _ in range(2):  # a second dialogue finds the socket free again
            resource = manager.open_resource(
                f"TCPIP0::127.0.0.1::{server.port}::SOCKET",
                read_termination="\n",
                write_termination="\n",
                timeout=5000,
            )
            assert "SM0007" in resource.query("*IDN?")
            resource.write("CONF:CURR:DC 1E-3")
            resource.write("ROUT:CLOS (@101)")
            assert float(resource.query("READ?")) == pytest.approx(500e-6, rel=1e-3)
            assert resource.query("SYST:ERR?") == '+0,"No error"'
            resource.close()
        manager.close()
    finally:
        server.stop()


def test_a_port_that_is_taken_is_refused():
    meter = make_meter()
    first = MeterServer(meter, lock=threading.RLock(), host="127.0.0.1", port=0)
    with pytest.raises(SimulatorError, match="port cannot be opened"):
        MeterServer(meter, lock=threading.RLock(), host="127.0.0.1", port=first.port)
    first.stop()
