"""Slots that are named by their USB adapters keep their boards, whatever the system calls them."""

from __future__ import annotations

from contextlib import closing

import pytest
from serial.tools.list_ports_common import ListPortInfo

from provisioning.errors import PortError
from provisioning.serial_port import open_port
from provisioning.simulator.line import SimulatedLine
from provisioning.usb_ports import describe_usb_port, find_usb_port, is_usb_serial_jtag


def adapter(device, *, serial="A1", location="1-1.4", vid=0x10C4, pid=0xEA60):
    port = ListPortInfo(device, skip_link_detection=True)
    port.serial_number, port.location, port.vid, port.pid = serial, location, vid, pid
    return port


LEFT = adapter("/dev/ttyUSB0", serial="LEFT", location="1-1.1")
RIGHT = adapter("/dev/ttyUSB1", serial="RIGHT", location="1-1.2")
BUILT_IN = adapter("/dev/ttyS0", serial=None, location=None, vid=None, pid=None)
DOUBLE = tuple(
    adapter(f"/dev/ttyUSB{2 + number}", serial="TWO", location=f"1-1.3:1.{number}")
    for number in range(2)
)
CHIP = adapter("/dev/ttyACM0", serial="02:77", location="1-2", vid=0x303A, pid=0x1001)
ALL = (BUILT_IN, LEFT, RIGHT, *DOUBLE, CHIP)


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("usb:LEFT", "/dev/ttyUSB0"),
        ("usb:02:77", "/dev/ttyACM0"),
        ("usb-location:1-1.2", "/dev/ttyUSB1"),
        ("usb-location:1-1.3:1.1", "/dev/ttyUSB3"),
    ],
)
def test_a_name_means_one_adapter(name, device):
    assert find_usb_port(name, ALL).device == device


@pytest.mark.parametrize("name", ["usb:TWO", "usb-location:1-1.3"])
def test_an_adapter_with_two_ports_is_not_guessed_at(name):
    with pytest.raises(PortError, match="several serial ports") as refusal:
        find_usb_port(name, ALL)
    assert "usb-location:1-1.3:1.1 (/dev/ttyUSB3)" in refusal.value.got


@pytest.mark.parametrize("name", ["usb:", "usb-location:", "usb:left", "usb-location:1-1"])
def test_an_adapter_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(PortError, match="not plugged in") as refusal:
        find_usb_port(name, ALL)
    assert "usb:LEFT or usb-location:1-1.1 (/dev/ttyUSB0)" in refusal.value.got


def test_no_adapter_at_all_is_said():
    with pytest.raises(PortError, match="no USB serial port"):
        find_usb_port("usb:LEFT", (BUILT_IN,))


def test_many_adapters_are_not_all_listed():
    many = [adapter(f"/dev/ttyUSB{n}", serial=str(n), location=f"1-{n}") for n in range(20)]
    with pytest.raises(PortError, match="and 12 more"):
        find_usb_port("usb:LEFT", many)


def test_the_chip_s_own_usb_unit_is_told_by_vendor_and_product():
    assert [is_usb_serial_jtag(port) for port in ALL] == [False] * 5 + [True]
    assert describe_usb_port(CHIP) == "usb:02:77 or usb-location:1-2 (/dev/ttyACM0)"


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    folder = tmp_path_factory.mktemp("line")
    with SimulatedLine(folder, board_count=2, seed=5, has_pty=True) as line:
        yield line


def test_an_adapter_that_comes_back_under_another_name_is_the_same_slot(line):
    """The port is closed and opened by whoever holds it, as esptool does after a reset."""
    devices = [slot.pty_path for slot in line.slots]
    plugged = [adapter(devices[0], serial="LEFT")]
    with closing(open_port("usb:LEFT", timeout_s=1, list_ports=lambda: plugged)) as port:
        assert port.port == devices[0]
        assert not port.is_usb_serial_jtag
        with pytest.raises(PortError, match="in use"):
            open_port(devices[0], timeout_s=1)
        port.close()
        plugged.clear()
        with pytest.raises(OSError, match="not plugged in"):
            port.open()
        plugged.append(adapter(devices[1], serial="LEFT", vid=0x303A, pid=0x1001))
        port.open()
        assert port.port == devices[1]
        assert port.is_usb_serial_jtag


def test_two_adapters_that_swap_their_names_keep_their_slots(line):
    """After a restart, or when both were unplugged, the system numbers them the other way round."""
    devices = [slot.pty_path for slot in line.slots]
    places = {"1-1.1": "LEFT", "1-1.2": "RIGHT"}
    for order in (devices, devices[::-1]):
        plugged = [
            adapter(device, serial=serial, location=place)
            for device, (place, serial) in zip(order, places.items(), strict=True)
        ]
        for names in (("usb:LEFT", "usb:RIGHT"), ("usb-location:1-1.1", "usb-location:1-1.2")):
            for name, device in zip(names, order, strict=True):
                with closing(open_port(name, timeout_s=1, list_ports=lambda: plugged)) as port:  # noqa: B023
                    assert port.port == device


def test_a_device_knows_whether_it_is_the_chip_s_own_usb_unit(line, tmp_path):
    device = line.slots[0].pty_path
    by_id = tmp_path / "usb-Espressif"
    by_id.symlink_to(device)
    plugged = (adapter(device, vid=0x303A, pid=0x1001),)
    with closing(open_port(str(by_id), timeout_s=1, list_ports=lambda: plugged)) as port:
        assert port.is_usb_serial_jtag


@pytest.mark.parametrize(
    ("name", "telling"),
    [
        ("ttyUSB0", "not the name of a serial port"),
        ("", "not the name of a serial port"),
        ("socket://127.0.0.1:1", "not the name of a serial port"),
        ("rfc2217://127.0.0.1:1?reset=never", "cannot be read"),
        ("usb:NOBODY", "not plugged in"),
    ],
)
def test_a_port_that_means_nothing_is_refused(name, telling):
    with pytest.raises(PortError, match=telling):
        open_port(name, timeout_s=1)
