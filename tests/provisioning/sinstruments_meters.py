"""Multimeters of another make, served by sinstruments over TCP and a serial line.

Run as a process, because sinstruments brings its own event loop. Each device behaves as the
programming reference of the Keysight Truevolt family says, and knows nothing of Ampforge; all but
the first have one thing wrong. Writes one line of JSON: the address of each device by name.
"""

from __future__ import annotations

import json
import sys

import gevent
from sinstruments.simulator import BaseDevice, SerialServer, TCPServer

CURRENT_A = 80e-6
LOAD_OHM = 10_000
INPUT_OHM = 10_000_000
NPLC = {0.02, 0.06, 0.2, 1, 10, 100}
MAINS_S = 0.02
AUTOMATIC_DELAY_S = 1.5e-3
RAMP_PER_S = 1e-6
NO_ERROR = '+0,"No error"'


class Truevolt(BaseDevice):
    """One instrument; `fault` says what is wrong with it."""

    def __init__(self, name: str, fault: str = "") -> None:
        super().__init__(name)
        self.fault = fault
        self.errors: list[str] = []
        self.function, self.range, self.count, self.reads = "VOLT", 10.0, 1, 0
        self.aperture_s, self.is_autozero, self.delay_s = 10 * MAINS_S, True, AUTOMATIC_DELAY_S

    def handle_message(self, message: bytes):
        answers = []
        for line in message.decode().strip().split(";"):
            answer = self.act(line.strip())
            if answer == "VANISH":
                raise ConnectionResetError
            if answer is not None:
                answers.append(answer)
        if not answers:
            return None
        text = ";".join(answers)
        return (
            text.encode() if self.fault == "truncated" and "E-0" in text else f"{text}\n".encode()
        )

    def act(self, line: str) -> str | None:  # noqa: C901, PLR0912 - one case for each command
        header, _, parameter = line.partition(" ")
        match header.upper():
            case "*IDN?":
                model = "34401A" if self.fault == "model" else "34465A"
                return f"Keysight Technologies,{model},MY{len(self.name):08d},A.03.00-03.00"
            case "*RST" | "*CLS":
                self.errors.clear()
            case "CONF:CURR:DC" | "CONF:VOLT:DC":
                self.function, self.range = header[5:9], float(parameter)
                self.count = 1
                self.aperture_s, self.is_autozero = 10 * MAINS_S, True
                self.delay_s = AUTOMATIC_DELAY_S
            case "CONF?":
                told = "VOLT" if self.fault == "front-panel" else self.function
                return f'"{told} {self.range:+.8E},{1e-6 * self.range:+.8E}"'
            case "SENS:CURR:DC:NPLC" | "SENS:VOLT:DC:NPLC":
                if float(parameter) not in NPLC:
                    self.errors.append('-222,"Data out of range"')
                self.aperture_s = float(parameter) * MAINS_S
            case "SENS:CURR:DC:APER" | "SENS:VOLT:DC:APER":
                self.aperture_s = float(parameter)
            case "SENS:CURR:DC:ZERO:AUTO" | "SENS:VOLT:DC:ZERO:AUTO":
                self.is_autozero = parameter == "ON"
            case "TRIG:DEL:AUTO":
                self.delay_s = AUTOMATIC_DELAY_S
            case "TRIG:DEL":
                self.delay_s = float(parameter)
            case "SENS:VOLT:DC:IMP:AUTO":
                pass
            case "SAMP:COUN":
                self.count = int(parameter)
            case "READ?":
                return self.read()
            case "SYST:ERR?":
                return self.errors.pop(0) if self.errors else NO_ERROR
            case _:
                self.errors.append('-113,"Undefined header"')
        return None

    def read(self) -> str | None:
        self.reads += 1
        seen_ohm = 1 / (1 / LOAD_OHM + 1 / INPUT_OHM)
        value = CURRENT_A if self.function == "CURR" else CURRENT_A * seen_ohm
        values = [value] * self.count
        match self.fault:
            case "nan":
                values[0] = 9.91e37
            case "overload":
                values[0] = 9.9e37
            case "late":
                gevent.sleep(0.5)
            case "vanishing":
                return "VANISH"
            case "restless":
                values = [value * (1 + 0.1 * index) for index in range(self.count)]
            case "ramp":  # of the time at which each sample begins
                every_s = self.aperture_s * (1 + self.is_autozero) + self.delay_s
                values = [RAMP_PER_S * every_s * index for index in range(self.count)]
            case "settling" if self.reads == 1:
                values[0] = 2 * value
        unit = " ADC" if self.fault == "units" else ""
        return ",".join(f"{one:+.8E}{unit}" for one in values)


class Switch(BaseDevice):
    """A relay unit that knows the standard's two commands."""

    def handle_message(self, message: bytes) -> bytes | None:
        if message.startswith(b"SYST:ERR?"):
            return f"{NO_ERROR}\n".encode()
        return None


FAULTS = ("", "nan", "overload", "late", "truncated", "vanishing", "restless", "settling")
MORE_FAULTS = ("units", "front-panel", "model", "ramp")


def main(serial_link: str) -> None:
    """Serve until the process is ended."""
    addresses = {}
    for name in ("switch", "good", *FAULTS[1:], *MORE_FAULTS):
        if name == "switch":
            device = Switch(name)
        else:
            device = Truevolt(name, "" if name == "good" else name)
        server = TCPServer(name, device.get_protocol, url=("127.0.0.1", 0))
        server.start()
        addresses[name] = f"TCPIP0::127.0.0.1::{server.server_port}::SOCKET"
    serial = SerialServer("serial", Truevolt("serial").get_protocol, url=serial_link)
    gevent.spawn(serial.serve_forever)
    addresses["serial"] = f"ASRL{serial_link}::INSTR"
    sys.stdout.write(f"{json.dumps(addresses)}\n")
    sys.stdout.flush()
    gevent.wait()


if __name__ == "__main__":
    main(sys.argv[1])
