"""A station with a small release, on disk, as a factory would have it."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_images.bundle_building import build_bundle, sign_bundle
from provisioning.station import Outside, Station, open_station
from provisioning.station_files import create_station
from provisioning.station_settings import StationSettings
from provisioning.station_values import SlotConfig
from signing.roles import Role
from signing.trust import sign_trust_record
from tests.firmware_images.release_parts import (
    APP_1_4_0,
    build_inputs,
    build_parts,
    build_trust,
    role_keys,
    signer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from provisioning.simulator.line import SimulatedLine

BUNDLE = "release.bundle"
TRUST = "trust.cose"
STATION = "station"
SEED = 7


def outside() -> Outside:
    return Outside(
        now=lambda: dt.datetime.now(dt.UTC),
        clock_s=time.monotonic,
        new_job=lambda: str(uuid.uuid4()),
        random_bytes=os.urandom,
    )


def make_bench(folder: Path, *, app: Path = APP_1_4_0) -> None:
    """Write station folder, trust record and signed bundle."""
    create_station(
        folder / STATION,
        product="flare",
        station_name="station-1",
        ledger_uuid=str(uuid.uuid4()),
        now=dt.datetime.now(dt.UTC),
        passphrase=None,
        is_test_key=True,
    )
    ca_der = (folder / STATION / "factory-ca.cert.der").read_bytes()
    trust = build_trust()
    roles = {**trust.roles, Role.SUPERVISOR: role_keys(1, "supervisor-1")}
    trust = replace(trust, factory_ca_der=ca_der, roles=roles)
    (folder / TRUST).write_bytes(sign_trust_record(trust, [signer("root-1")]))
    write_bundle(folder, app=app)


def write_bundle(folder: Path, *, app: Path = APP_1_4_0, version: str | None = None) -> None:
    unsigned = build_bundle(build_inputs(build_parts(app=app), version=version))
    signed = sign_bundle(unsigned, [signer("release-1"), signer("release-2-ed")])
    (folder / BUNDLE).write_bytes(signed)


def open_bench(folder: Path, settings: StationSettings | None = None) -> Station:
    return open_station(
        folder / STATION,
        settings or StationSettings(),
        product_model="FL1",
        bundle_bytes=(folder / BUNDLE).read_bytes(),
        trust_bytes=(folder / TRUST).read_bytes(),
        outside=outside(),
        passphrase=None,
    )


def slot_configs(line: SimulatedLine) -> tuple[SlotConfig, ...]:
    return tuple(
        SlotConfig(name=str(number), port=slot.port_url, meter=slot.meter_address)
        for number, slot in zip(itertools.count(1), line.slots)
    )
