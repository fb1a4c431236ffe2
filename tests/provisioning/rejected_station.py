"""Builds tests/rejected/station; `python -m tests.provisioning.rejected_station` writes it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import tempfile
from functools import cache
from pathlib import Path

import cbor2
import click
from serial.tools.list_ports_common import ListPortInfo

from cli.configuration import load_configuration
from cli.failures import UsageRefusal
from cli.slot_option import SlotType
from provisioning.errors import BoardRefusalError, LinkTimeoutError
from provisioning.ledger import Ledger
from provisioning.ledger_creation import create_ledger
from provisioning.ledger_values import Writer
from provisioning.link_frames import BadFrame, LineAssembler, serialize_frame
from provisioning.link_messages import BOARD_BUFFER_BYTES, BoardErrorCode
from provisioning.serial_numbers import parse_serial
from provisioning.serial_port import open_port
from provisioning.station_keys import StationKeys
from provisioning.station_settings import StationSettings
from provisioning.unit_export_checking import verify_export
from provisioning.unit_exports import export_unit
from signing.certificate_issuing import create_ca_certificate, issue_station_certificate
from tests.gallery import Gallery, write_gallery
from tests.provisioning.simulator.parts import finish_identity, make_running_board
from tests.signing.fixed_keys import fixed_signer

NOT_BEFORE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
CA, STATION = fixed_signer("gallery ca"), fixed_signer("gallery station")
MAC = bytes.fromhex("60554a000001")
GROUP = 64
UUID = "0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a"
ABOUT = """Each file has one thing wrong and is named after it: `frame-` files are console lines on
the serial link, `request-` files whole requests to a simulated board that has its identity,
`serial-` files serial numbers, `slot-` files values of `--slots`, `port-` files names of ports,
`config-` files `ampforge.toml`, `export-` files exported units. Written with fixed keys by
`python -m tests.provisioning.rejected_station`; `tests/provisioning/test_rejected.py` checks each
error, word by word, and that board and folder stay as they were."""


def read(name: str, content: bytes) -> object:  # noqa: PLR0911 - one for each kind of file
    """Read a file as what its name begins with."""
    match name.partition("-")[0]:
        case "frame":
            return read_frame(content)
        case "request":
            with tempfile.TemporaryDirectory() as folder:
                return ask_board(Path(folder), content)
        case "serial":
            return parse_serial(content.decode())
        case "slot":
            return read_slot(content.decode())
        case "port":
            return open_port(content.decode(), timeout_s=0.1, list_ports=lambda: ADAPTERS)
        case "config":
            return read_settings(content)
        case _:
            return verify_export(content, _keys().ca_der, now=NOW, where=name)


def read_frame(content: bytes) -> object:
    """Raise the first error that the lines give."""
    items = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES).feed(content)
    for item in items:
        if isinstance(item, BadFrame):
            raise item.error
    return items


def ask_board(folder: Path, content: bytes) -> object:
    """Send one message to a board with an identity; its flash must stay as it was."""
    unit = make_running_board(folder)
    try:
        finish_identity(unit)
        before = unit.board.flash.read(0, 4 << 20)
        answer = unit.send(content)
        assert unit.board.flash.read(0, 4 << 20) == before, "a refused request changed the flash"
    finally:
        unit.board.close()
    if answer is None:
        raise LinkTimeoutError("the board does not answer")
    fields = cbor2.loads(answer[8:])
    if "err" in fields:
        reason = next(line for line in reversed(unit.log) if line.startswith("E "))
        code_name = BoardErrorCode(fields["err"]["rc"]).name
        raise BoardRefusalError(reason.removeprefix("E "), code_name=code_name)
    if fields.get("rc"):
        raise BoardRefusalError("the board refused", code_name=f"rc {fields['rc']}")
    return fields


def read_slot(text: str) -> object:
    """Read a value of `--slots` as the command line does."""
    try:
        return SlotType().convert(text, None, None)
    except click.UsageError as error:
        raise UsageRefusal(error.message) from error


def read_settings(content: bytes) -> object:
    """Load section [station] of a configuration; its place is told without the folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        path = folder / "ampforge.toml"
        path.write_bytes(content)
        try:
            return load_configuration(path).section("station", StationSettings)
        except UsageRefusal as refusal:
            refusal.where = str(refusal.where).replace(f"{folder}/", "")
            raise
        finally:
            assert [entry.name for entry in folder.iterdir()] == ["ampforge.toml"]


def _adapter(device: str, location: str) -> ListPortInfo:
    port = ListPortInfo(device, skip_link_detection=True)
    port.serial_number, port.location, port.vid, port.pid = "TWO", location, 0x0403, 0x6010
    return port


ADAPTERS = (_adapter("/dev/ttyUSB0", "1-1.4:1.0"), _adapter("/dev/ttyUSB1", "1-1.4:1.1"))


def build_rejected() -> dict[str, bytes]:
    """Return each file's name and content."""
    return {**_frames(), **_requests(), **_texts(), **_configurations(), **_exports()}


def request(command: int, fields: object, *, op: int = 2, group: int = GROUP) -> bytes:
    """Return one SMP message, version 2."""
    body = fields if isinstance(fields, bytes) else cbor2.dumps(fields)
    head = bytes([op | 1 << 3, 0]) + len(body).to_bytes(2, "big") + group.to_bytes(2, "big")
    return head + bytes([1, command]) + body


def _frames() -> dict[str, bytes]:
    whole = serialize_frame(request(0, {}, op=0))
    long = serialize_frame(bytes(200)).splitlines(keepends=True)
    return {
        "frame-crc.txt": b"\x06\x09" + base64.b64encode(b"\0\x06info\0\0") + b"\n",
        "frame-not-base64.txt": b"\x06\x09!!!!\n",
        "frame-half-a-group.txt": whole[:-3] + b"\n",
        "frame-empty.txt": b"\x06\x09\n",
        "frame-continues-nothing.txt": long[1],
        "frame-longer-than-it-says.txt": b"\x06\x09AAIAAAAA\n",
        "frame-length-of-one.txt": b"\x06\x09AAEA\n",
        "frame-longer-than-a-board-takes.txt": serialize_frame(bytes(BOARD_BUFFER_BYTES + 1)),
    }


def _requests() -> dict[str, bytes]:
    whole = request(1, {"serial": "AF-OTHER", "job": "job-1"})
    return {
        "request-header-cut.bin": whole[:7],
        "request-length-too-large.bin": whole[:-1],
        "request-unknown-group.bin": request(0, {}, op=0, group=99),
        "request-unknown-command.bin": request(77, {}),
        "request-body-is-no-map.bin": request(1, [1, 2]),
        "request-body-is-no-cbor.bin": request(1, b"\xff\xff"),
        "request-another-serial.bin": whole,
        "request-serial-as-number.bin": request(1, {"serial": 5, "job": "job-1"}),
        "request-serial-too-long.bin": request(1, {"serial": "A" * 21, "job": "job-1"}),
        "request-unknown-key.bin": request(3, {"nonce": bytes(16), "extra": 1}),
        "request-nonce-too-short.bin": request(3, {"nonce": bytes(15)}),
        "request-output-code-and-current.bin": request(4, {"en": True, "code": 5, "na": 5}),
        "request-output-not-calibrated.bin": request(4, {"en": True, "na": 100_000}),
        "request-run-without-calibration.bin": request(6, {"mode": "LIFT", "level": 0, "en": True}),
        "request-calibration-of-nobody.bin": request(5, {"rec": b"nonsense"}),
        "request-trust-of-nobody.bin": request(7, {"rec": b"nonsense"}),
        "request-release-of-nobody.bin": request(9, {"stmt": b"nonsense"}),
        "request-release-counter-alone.bin": request(9, {"counter": 4_000_000_000}),
    }


def _texts() -> dict[str, bytes]:
    texts = {
        "serial-empty.txt": "",
        "serial-lower-case.txt": "ampfl1260700001l",
        "serial-with-dashes.txt": "AMP-FL1-26-07-00001-L",
        "serial-letter-o-in-the-sequence.txt": "AMPFL126070000OL",
        "serial-one-character-misread.txt": "AMPFL1260700002L",
        "serial-two-characters-exchanged.txt": "AMPFL1260070001L",
        "serial-one-character-short.txt": "AMPFL126070001L",
        "serial-arabic-digits.txt": "AMPFL1\u0662\u0666\u0660\u066700001L",
        "slot-empty.txt": "",
        "slot-without-meter.txt": "port=/dev/ttyUSB0",
        "slot-without-port.txt": "meter=TCPIP0::h::1::SOCKET",
        "slot-port-twice.txt": "port=a,port=b,meter=c",
        "slot-unknown-key.txt": "port=a,meter=b,baud=9600",
        "slot-empty-port.txt": "port=,meter=b",
        "slot-colons-for-equals.txt": "port:a,meter:b",
        "port-empty.txt": "",
        "port-without-folder.txt": "ttyUSB0",
        "port-of-another-protocol.txt": "socket://127.0.0.1:1",
        "port-not-plugged-in.txt": "usb:LEFT",
        "port-serial-empty.txt": "usb:",
        "port-of-an-adapter-with-two.txt": "usb:TWO",
        "port-location-empty.txt": "usb-location:",
        "port-location-of-the-hub.txt": "usb-location:1-1",
        "port-remote-without-number.txt": "rfc2217://127.0.0.1",
        "port-remote-number-too-large.txt": "rfc2217://127.0.0.1:70000",
        "port-remote-unknown-query.txt": "rfc2217://127.0.0.1:1?reset=maybe",
    }
    return {name: text.encode() for name, text in texts.items()}


def _configurations() -> dict[str, bytes]:
    texts = {
        "config-not-toml.toml": "[station\n",
        "config-no-such-section.toml": "[product]\n",
        "config-unknown-key.toml": "[station]\nbaud = 9600\n",
        "config-name-in-capitals.toml": '[station]\nname = "Station 1"\n',
        "config-prefix-too-long.toml": '[station.serials]\nprefix = "AMPF"\n',
        "config-format-without-sequence.toml": '[station.serials]\nformat = "PPPMMMYYWWC"\n',
        "config-format-of-another-prefix.toml": '[station.serials]\nformat = "PPMMMSSSSC"\n',
        "config-lot-with-parentheses.toml": '[station]\nlot = "L(1)"\n',
        "config-timeout-zero.toml": "[station]\nboot_timeout_s = 0.0\n",
        "config-timeout-infinite.toml": "[station]\nboot_timeout_s = inf\n",
        "config-baud-as-text.toml": '[station]\nflash_baud = "921600"\n',
        "config-slot-without-meter.toml": '[[station.slots]]\nport = "/dev/ttyUSB0"\n',
        "config-loads-reversed.toml": "[station.metrology]\nloads_ohm = [10000, 1000]\n",
        "config-load-without-relay.toml": "[station.metrology]\nclaim_loads_ohm = [4711]\n",
        "config-guard-factor-negative.toml": "[station.metrology]\nguard_factor = -1.0\n",
        "config-limit-zero.toml": "[station.metrology]\ncalibration_limit_na = 0\n",
    }
    return {name: text.encode() for name, text in texts.items()}


@cache
def _keys() -> StationKeys:
    ca_der = create_ca_certificate(CA, common_name="Flare factory CA", not_before=NOT_BEFORE)
    return StationKeys(
        ca_signer=CA,
        ca_der=ca_der,
        station_signer=STATION,
        station_der=issue_station_certificate(
            CA, ca_der, STATION.public_key, station_name="station-1", not_before=NOT_BEFORE
        ),
    )


@cache
def export() -> str:
    """A unit's export from a ledger whose clock stands still; JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite3"
        create_ledger(path, product="flare", ledger_uuid=UUID, created_at=NOT_BEFORE)
        ledger = Ledger.open(path)
        writer = Writer(station="station-1", now=lambda: NOW, new_job=lambda: "job-1")
        reservation = ledger.reserve(
            writer, mac=MAC, prefix="AMP", model="FL1", bundle_digest=bytes(32), again=False
        )
        document = export_unit(
            ledger, reservation.serial, keys=_keys(), station="station-1", now=NOW
        )
        ledger.close()
    return json.dumps(document, indent=1)


def _exports() -> dict[str, bytes]:
    document = json.loads(export())
    link = document["chains"][0]["links"][0]

    def edited(old: str, new: str) -> bytes:
        assert export().count(old) >= 1, old
        return export().replace(old, new).encode()

    others = {
        "certificate": {"station_certificate": "00"},
        "signature": {"heads_cose": document["heads_cose"][:-2] + "00"},
    }
    return {
        "export-empty.json": b"",
        "export-not-json.json": b"\x00\xff",
        "export-a-list.json": b"[]",
        "export-of-another-schema.json": edited("unit-export/1", "unit-export/2"),
        "export-another-serial.json": edited(document["serial"], "AMPFL12699000010"),
        "export-digest-changed.json": edited(link["digest"], "00" * 32),
        "export-link-changed.json": edited(link["hash"], "00" * 32),
        "export-event-told-otherwise.json": edited('"reserve"', '"final"'),
        "export-epoch-raised.json": edited('"epoch": 1', '"epoch": 2'),
        "export-later-than-signed.json": edited("2026-06-01T", "2026-07-01T"),
        **{
            f"export-{name}-changed.json": json.dumps({**document, **change}).encode()
            for name, change in others.items()
        },
    }


GALLERY = Gallery(
    name="station",
    title="What a station refuses",
    about=ABOUT,
    build=build_rejected,
    read=read,
)

if __name__ == "__main__":
    write_gallery(GALLERY)
