"""Ways in to station and ledger, and to the configuration."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli.configuration import load_configuration
from cli.secure_boot_signing import parse_revision
from firmware_images.delta_settings import DeltaSettings
from firmware_images.flash_medium import MemoryFlash
from firmware_images.product import ProductSettings, ReleaseSettings
from firmware_images.record_slots import RecordSlots
from firmware_images.spec_sheet_settings import SpecSheetSettings
from manifests.manifests_settings import RepositorySettings, ServeSettings, UpdateSettings
from provisioning.board_evidence import parse_evidence, serialize_evidence, verify_evidence
from provisioning.capability_data import load_process_data
from provisioning.classification import IDENTITY_RECORD_BYTES, parse_board_identity
from provisioning.fit_data import load_fit_data
from provisioning.gauge_data import load_gauge_data
from provisioning.gauge_sheet import parse_sheet
from provisioning.instrument_description import parse_description, read_built_in
from provisioning.instrument_register import parse_copy
from provisioning.instruments import parse_identity as parse_instrument_identity
from provisioning.instruments import parse_samples
from provisioning.lease import parse_lease, verify_lease
from provisioning.ledger_address import parse_ledger_address
from provisioning.ledger_backup_reading import BackupReader
from provisioning.ledger_events import parse_event
from provisioning.ledger_witness import WITNESS_NAME, load_witness
from provisioning.link_frames import LineAssembler, serialize_frame
from provisioning.link_messages import BOARD_BUFFER_BYTES
from provisioning.measurement_settings import MetrologySettings
from provisioning.meter_settings import MeterSettings
from provisioning.scpi_session import ANSWER_MAX_BYTES
from provisioning.serial_checking import check_serial
from provisioning.serial_formats import parse_format
from provisioning.serial_numbers import parse_serial
from provisioning.station_settings import StationSettings
from provisioning.supervision import (
    Act,
    SupervisedAct,
    parse_act,
    serialize_act,
    sign_act,
    verify_act,
)
from provisioning.udi import parse_udi
from signing.roles import Role
from signing.roles_settings import SigningSettings
from tests.firmware_images.release_parts import FLARE, build_trust, role_keys, signer
from tests.hostile.entry import GOLDEN, NOW, argument, text
from tests.provisioning import rejected_heads, rejected_station
from tests.provisioning.made_evidence import make_evidence

if TYPE_CHECKING:
    from pydantic import BaseModel

    from signing.trust_record import TrustRecord


from tests.hostile.entry import add, add_bytes, golden

_ORDER = SupervisedAct(
    ledger_uuid="0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a",
    act=Act.REWORK,
    mac=bytes(6),
    new_mac=b"",
    answers=bytes(32),
    reason="a cold joint was soldered again",
    at=NOW,
)


@cache
def _supervised_trust() -> TrustRecord:
    trust = build_trust()
    return replace(trust, roles={**trust.roles, Role.SUPERVISOR: role_keys(1, "supervisor-1")})


def _verify_lease(content: bytes) -> object:
    return verify_lease(
        content,
        station="station-1",
        station_der=(GOLDEN / "lease/station.cert.der").read_bytes(),
        ca_der=(GOLDEN / "lease/factory-ca.cert.der").read_bytes(),
        now=NOW,
    )


def _identity_sectors() -> bytes:
    flash = MemoryFlash(IDENTITY_RECORD_BYTES)
    record = (GOLDEN / "records/identity.cbor").read_bytes()
    RecordSlots(flash, 0, name="identity record").save(record)
    return bytes(flash.content)


def _load_section(section: str, model: type[BaseModel], path: Path) -> object:
    return load_configuration(path).section(section, model)


def _console_lines() -> bytes:
    return serialize_frame(rejected_station.request(0, {}, op=0)) + b"I (12) boot: ready\n"


def _evidence() -> bytes:
    return serialize_evidence(make_evidence("AMPFLR2607000021", bytes(6)))


def _samples(content: bytes) -> object:
    # The meter's port takes no longer answer.
    text = content[:ANSWER_MAX_BYTES].decode("latin-1")
    return parse_samples(text, count=4, where="meter")


def _listen(content: bytes) -> None:
    """Feed a link as a port does, in pieces: ten seconds of a line at 921 600 baud."""
    content = content[: 1 << 20]
    lines = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)
    for start in range(0, len(content), 4096):
        lines.feed(content[start : start + 4096])


_GAUGE = b"part,appraiser,trial,value\n" + b"".join(
    f"{part},{who},{trial},{part}.{trial}\n".encode()
    for part in "12" for who in "ab" for trial in "12"
)  # fmt: skip
add("gauge study", "csv", load_gauge_data, lambda: _GAUGE, ".csv")
add_bytes("gauge sheet", "csv", lambda c: parse_sheet(c, where="sheet"), lambda: _GAUGE)
add("process", "csv", load_process_data, lambda: b"value,subgroup\n1,a\n2,a\n3,b\n", ".csv")
add("fit data", "csv", load_fit_data, lambda: b"x,y,u_y\n1,2,0.1\n2,3,0.1\n3,5,0.1\n", ".csv")
add_bytes(
    "instrument's identity",
    "text",
    lambda c: parse_instrument_identity(c.decode("latin-1"), where="meter"),
    lambda: b"Keysight,34465A,MY12345678,A.03",
)
add_bytes("instrument's samples", "csv", _samples, lambda: b"+1E-4,+2E-4,+3E-4,+4E-4")
add_bytes("serial number", "text", text(parse_serial), lambda: b"AMPFL1260700001L")
add_bytes("format of serial numbers", "text", text(parse_format), lambda: b"PPPMMMYYWWSSSSSC")
add_bytes(
    "typed serial number",
    "text",
    text(partial(check_serial, codes="AMP")),
    lambda: b"AMP-FL1-2607-00001-L",
)
add_bytes(
    "scanned label",
    "text",
    text(parse_udi),
    lambda: b"]d201095060001343521126112610L4711\x1d21AMPFL1264800001A",
)
add_bytes(
    "value of --slots", "text", argument(rejected_station.read_slot), lambda: b"port=a,meter=b"
)
add_bytes(
    "ledger event",
    "cbor",
    lambda c: parse_event(c, where="ledger"),
    golden("ledger/event.cbor"),
)
add_bytes(
    "signed head",
    "cbor",
    partial(rejected_heads.read, "head"),
    golden("ledger/head.cose"),
)
add_bytes(
    "unit's export",
    "json",
    partial(rejected_station.read, "export-"),
    lambda: rejected_station.export().encode(),
)
add_bytes("console lines", "text", _listen, _console_lines)


def _read_backup(path: Path) -> None:
    with BackupReader.open(path) as backup:
        for _ in backup.rows():
            pass


def _load_witness(path: Path) -> None:
    shutil.copyfile(path, path.with_name(WITNESS_NAME))
    load_witness(path.parent)


add("ledger's backup", "json", _read_backup, golden("ledger/backup-0003.jsonl"))
add(
    "what a station remembers of its ledger",
    "json",
    _load_witness,
    lambda: (
        b'{"schema":"ampforge.ledger-witness/1","uuid":"u","epoch":1,"opening":null,'
        b'"station":"station-1","count":0,"head":"%s"}' % (b"0" * 64)
    ),
)
add_bytes(
    "address of a ledger",
    "text",
    text(partial(parse_ledger_address, root=Path())),
    lambda: b"postgresql://line@localhost:5432/ledger?sslmode=require",
)


for _section, _model in (
    ("product", ProductSettings),
    ("release", ReleaseSettings),
    ("spec_sheet", SpecSheetSettings),
    ("signing", SigningSettings),
    ("station", StationSettings),
    ("station.meter", MeterSettings),
    ("station.metrology", MetrologySettings),
    ("repository", RepositorySettings),
    ("serve", ServeSettings),
    ("update", UpdateSettings),
    ("delta", DeltaSettings),
):
    add(
        f"configuration, {_section}",
        "toml" if _section == "product" else "",  # one reader of TOML serves them all
        partial(_load_section, _section, _model),
        (FLARE / "ampforge.toml").read_bytes,
        ".toml",
    )
add_bytes("supervisor's order", "cbor", parse_act, lambda: serialize_act(_ORDER))
add_bytes(
    "supervisor's adoption",
    "cbor",
    parse_act,
    lambda: serialize_act(
        replace(_ORDER, act=Act.ADOPT, serial="AMPFLR2607000021", evidence=bytes(32))
    ),
)
add_bytes("proof of a board", "cbor", parse_evidence, _evidence)
add_bytes(
    "proof of a board, verified",
    "cbor",
    lambda c: verify_evidence(c, now=NOW, where="slot 1"),
    _evidence,
)
add_bytes(
    "signed order of a supervisor",
    "cose",
    lambda c: verify_act(c, _supervised_trust(), ledger_uuid=_ORDER.ledger_uuid),
    lambda: sign_act(_ORDER, [signer("supervisor-1")]),
)
add_bytes("lease", "cbor", parse_lease, golden("lease/lease.cbor"))
add_bytes("signed lease of serial numbers", "cose", _verify_lease, golden("lease/lease.cose"))
add_bytes("identity on a board", "table", parse_board_identity, _identity_sectors)
add_bytes("chip revision", "text", argument(parse_revision), lambda: b"v3.1")
add_bytes(
    "description of an instrument",
    "toml",
    lambda c: parse_description(c, where="file"),
    lambda: read_built_in("keysight-truevolt").encode(),
)
_INSTRUMENT = (
    b'{"format":1,"serial_number":"MY1","maker":"Keysight","model":"34465A","certificate":"K-1",'
    b'"calibrated":"2026-01-17","due":"2027-01-17","accuracy":[],"accuracy_source":"",'
    b'"read_from":"*IDN?","entered_by":"M. Curie"}'
)
add_bytes(
    "copy of the register of instruments",
    "json",
    lambda c: parse_copy(c, where="copy"),
    lambda: (
        b'[{"station":"a","number":1,"at":"2026-01-18T00:00:00+00:00","entry":%b}]' % _INSTRUMENT
    ),
)
