"""`ampforge station ports`: what a slot may be named by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.failures import printable
from cli.output import print_result
from cli.params import json_option

if TYPE_CHECKING:
    from provisioning.usb_ports import UsbPort


@click.command("ports", epilog="Example: ampforge station ports")
@json_option
def ports(*, as_json: bool) -> None:
    """List the USB serial ports that are plugged in, by the names that [[station.slots]] may use.

    `usb:SERIAL` follows an adapter wherever it is plugged in, `usb-location:PLACE` takes whatever
    is plugged in there. Either keeps a slot's identity when the system numbers its ports anew.
    """
    from provisioning.serial_port import list_usb_ports

    found = [port for port in list_usb_ports() if port.vid is not None]
    document = {
        "schema": "ampforge.station-ports/1",
        "ports": [_describe(port) for port in found],
    }
    lines = [_format(port) for port in found]
    print_result(
        document, "\n".join(lines or ["no USB serial port is plugged in"]), as_json=as_json
    )


def _describe(port: UsbPort) -> dict[str, object]:
    from provisioning.usb_ports import is_usb_serial_jtag, usb_names

    return {
        "device": port.device,
        "names": list(usb_names(port)),
        "vid": port.vid,
        "pid": port.pid,
        "is_usb_serial_jtag": is_usb_serial_jtag(port),
    }


def _format(port: UsbPort) -> str:
    from provisioning.usb_ports import is_usb_serial_jtag, usb_names

    kind = "  the chip's own USB unit" if is_usb_serial_jtag(port) else ""
    return printable(f"{port.device:<14}  {'  '.join(usb_names(port))}{kind}")
