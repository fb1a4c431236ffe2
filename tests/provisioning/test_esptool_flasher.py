"""The flasher: at which rate it writes, and what it does when something else answers."""

from __future__ import annotations

import struct
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest

from provisioning.device_link import DeviceLink
from provisioning.errors import FlashError
from provisioning.esptool_flasher import EsptoolFlasher
from provisioning.serial_port import open_port
from provisioning.simulator.board import BoardMode
from provisioning.simulator.faults import FaultPlan, LinkFault, LinkFaults
from provisioning.simulator.line import SimulatedLine
from provisioning.transfer_rates import TransferRates, describe_fall_back

if TYPE_CHECKING:
    from provisioning.serial_port import BoardPort


class OpenPort:
    """Enough of an open port for a loader that never gets to use it."""

    is_open = True
    is_usb_serial_jtag = False
    baudrate = 115_200


@pytest.mark.parametrize(
    "error",
    [
        IndexError("index out of range"),
        KeyError(7),
        ValueError("not a MAC"),
        struct.error("unpack requires a buffer of 12 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_answer_that_esptool_stumbles_over_is_our_error(monkeypatch, error):
    from esptool import cmds

    def stumble(*_arguments, **_options):
        raise error

    monkeypatch.setattr(cmds, "detect_chip", stumble)
    port: BoardPort = OpenPort()  # type: ignore[assignment]
    with pytest.raises(FlashError, match="unusable") as refusal:
        EsptoolFlasher(port, where="rfc2217://host:1").detect()
    assert refusal.value.hint
    assert refusal.value.got == f"an answer that esptool cannot read: {error}"


def test_an_esptool_error_without_a_text_is_our_error(monkeypatch):
    from esptool import cmds
    from esptool.util import FatalError

    def stumble(*_arguments, **_options):
        raise FatalError("")

    monkeypatch.setattr(cmds, "detect_chip", stumble)
    port: BoardPort = OpenPort()  # type: ignore[assignment]
    with pytest.raises(FlashError, match="flash loader failed"):
        EsptoolFlasher(port, where="rfc2217://host:1").detect()


@dataclass(frozen=True, kw_only=True)
class Region:
    name: str
    offset_bytes: int
    content: bytes


REGION = Region(name="app", offset_bytes=0x10000, content=Random(5).randbytes(20_000))


def on_cable(folder, **link):
    faults = {0: FaultPlan(link=LinkFaults(**link))}
    return SimulatedLine(folder, board_count=1, seed=5, faults=faults)


def flash(line, **options):
    """Write the region; return report, attempts and what was said."""
    url = line.slots[0].port_url
    said = []
    with closing(open_port(url, timeout_s=3)) as port:
        flasher = EsptoolFlasher(port, where=url, on_line=said.append, **options)
        (report,) = flasher.write((REGION,), on_progress=lambda _fraction: None)
    return report, [(each.baud, each.failure is None) for each in flasher.rates], said


@pytest.mark.parametrize(
    ("max_baud", "expected"),
    [
        (None, [(921_600, True)]),
        (115_200, [(921_600, False), (460_800, False), (115_200, True)]),
    ],
)
def test_a_rate_that_fails_is_left_for_the_next_lower_one(tmp_path, max_baud, expected):
    with on_cable(tmp_path, max_baud=max_baud) as line:
        report, rates, said = flash(line)
        assert not report.was_there
        assert line.slots[0].board.flash.read(REGION.offset_bytes, 20_000) == REGION.content
    assert rates == expected
    assert ("921600 baud failed" in " ".join(said)) == (len(expected) > 1)


def test_a_cable_that_fails_at_every_rate_is_an_error_that_names_them_all(tmp_path):
    corrupt = frozenset({LinkFault.CORRUPT})
    # The ROM is found in a few hundred bytes; the stub's thousands never come through.
    with (
        on_cable(tmp_path, seed=1, mean_bytes_between=2_000, kinds=corrupt) as line,
        pytest.raises(FlashError) as refusal,
    ):
        flash(line)
    assert refusal.value.got.count("baud failed") == 4
    assert "921600" in refusal.value.got
    assert refusal.value.got.count("115200") == 2


def test_the_rom_alone_knows_one_rate(tmp_path):
    with on_cable(tmp_path, max_baud=115_200) as line:
        _, rates, _ = flash(line, use_stub=False)
    assert rates == [(115_200, True)]


def test_boards_swapped_between_two_rates_are_found(tmp_path):
    with on_cable(tmp_path, max_baud=500_000) as line:
        url = line.slots[0].port_url
        with closing(open_port(url, timeout_s=3)) as port:
            flasher = EsptoolFlasher(port, where=url)
            flasher.detect()
            flasher._loader._mac = bytes(6)  # the one that was found is in somebody's hand now
            with pytest.raises(FlashError, match="another board in the slot"):
                flasher.write((REGION,), on_progress=lambda _fraction: None)
        assert line.slots[0].board.flash.read(REGION.offset_bytes, 100) == b"\xff" * 100


def test_a_flash_run_negotiates_for_baud_rates_alone(tmp_path):
    """The port's timeout is changed with each command; the server sees only new rates."""
    with SimulatedLine(tmp_path, board_count=1, seed=5) as line:
        flash(line)
        assert line.slots[0].uart.negotiation_count == 2  # 115200 when it opened, then 921600


def test_a_board_on_its_own_usb_plug_is_flashed_without_a_baud_rate(tmp_path):
    """It leaves the bus when it is reset into its application, and is found again."""
    faults = {0: FaultPlan(link=LinkFaults(leaves_bus_at_reset=True))}
    with SimulatedLine(tmp_path, board_count=1, seed=5, faults=faults, has_usb_plug=True) as line:
        _, rates, _ = flash(line)
        assert rates == [(115_200, True)]
        board = line.slots[0].board
        assert board.mode is BoardMode.STUB
        url = line.slots[0].port_url
        with closing(open_port(url, timeout_s=3)) as port:
            DeviceLink(port, where=url).reset_board()
            assert port.is_open
        assert board.mode is BoardMode.SILENT  # it has no bootloader, but it left the loader


def test_the_usual_lines_do_not_lead_into_the_loader_of_a_board_on_its_own_usb_plug(tmp_path):
    """What a UART bridge would need, DTR held while RTS is released, is no order to download."""
    with SimulatedLine(tmp_path, board_count=1, seed=5, has_usb_plug=True) as line:
        board = line.slots[0].board
        for rts, dtr in ((True, False), (True, True), (False, True), (False, False)):
            board.set_dtr(is_asserted=dtr)
            board.set_rts(is_asserted=rts)
        assert board.mode is BoardMode.SILENT
        for rts, dtr in ((False, True), (True, True), (True, False), (False, False)):
            board.set_rts(is_asserted=rts)
            board.set_dtr(is_asserted=dtr)
        assert board.mode is BoardMode.ROM


class TestRates:
    def test_a_rate_is_not_tried_again_and_the_last_one_once(self):
        rates = TransferRates(921_600)
        tried = [rates.current]
        while rates.fail("noise"):
            tried.append(rates.current)
        assert tried == [921_600, 460_800, 115_200, 115_200]

    def test_a_rate_that_worked_and_then_failed_counts_as_failed(self):
        rates = TransferRates(460_800)
        rates.succeed()
        rates.succeed()
        assert describe_fall_back(rates.attempts) is None
        rates.fail("noise")
        rates.succeed()
        assert describe_fall_back(rates.attempts) == (
            "460800 baud failed: noise; flashed at 115200 baud"
        )

    def test_a_station_that_starts_lower_never_goes_higher(self):
        rates = TransferRates(230_400)
        rates.fail("noise")
        assert rates.current == 115_200
