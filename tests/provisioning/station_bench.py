"""A station with a small release, on disk, as a factory would have it."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import threading
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from firmware_images.bundle_building import build_bundle, sign_bundle
from firmware_images.efuse_plan import load_efuse_plan
from provisioning.station import Outside, Station
from provisioning.station_founding import create_station
from provisioning.station_opening import open_station
from provisioning.station_settings import StationSettings
from provisioning.station_values import PLANNED_STEPS, SlotConfig, Step
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
    from provisioning.station_values import Progress
    from signing.roles import RoleKeys

BUNDLE = "release.bundle"
TRUST = "trust.cose"
STATION = "station"
EFUSES = "efuses.toml"
SEED = 7
STEPS = [step for step in Step if step not in PLANNED_STEPS]


def outside() -> Outside:
    return Outside(
        now=lambda: dt.datetime.now(dt.UTC),
        clock_s=time.monotonic,
        new_job=lambda: str(uuid.uuid4()),
        random_bytes=os.urandom,
    )


def make_bench(
    folder: Path,
    *,
    app: Path = APP_1_4_0,
    ca_uri: str | None = None,
    supervisor: RoleKeys | None = None,
) -> None:
    """Write station folder, trust record and signed bundle."""
    create_station(
        folder / STATION,
        product="flare",
        station_name="station-1",
        ledger_uuid=str(uuid.uuid4()),
        now=dt.datetime.now(dt.UTC),
        passphrase=None,
        is_test_key=True,
        ca_uri=ca_uri,
    )
    ca_der = (folder / STATION / "factory-ca.cert.der").read_bytes()
    trust = build_trust()
    roles = {**trust.roles, Role.SUPERVISOR: supervisor or role_keys(1, "supervisor-1")}
    trust = replace(trust, factory_ca_der=ca_der, roles=roles)
    (folder / TRUST).write_bytes(sign_trust_record(trust, [signer("root-1")]))
    write_bundle(folder, app=app)


def write_bundle(
    folder: Path, *, app: Path = APP_1_4_0, version: str | None = None, **inputs: object
) -> None:
    unsigned = build_bundle(build_inputs(build_parts(app=app), version=version, **inputs))
    signed = sign_bundle(unsigned, [signer("release-1"), signer("release-2-ed")])
    (folder / BUNDLE).write_bytes(signed)


def open_bench(folder: Path, settings: StationSettings | None = None, **plans: Any) -> Station:
    if "efuse_plan" not in plans and (folder / EFUSES).exists():
        plans["efuse_plan"] = load_efuse_plan(folder / EFUSES)
    return open_station(
        folder / STATION,
        settings or StationSettings(),
        product_model="FL1",
        bundle_bytes=(folder / BUNDLE).read_bytes(),
        trust_bytes=(folder / TRUST).read_bytes(),
        outside=outside(),
        passphrase=None,
        **plans,
    )


def slot_configs(line: SimulatedLine) -> tuple[SlotConfig, ...]:
    return tuple(
        SlotConfig(name=str(number), port=slot.port_url, meter=slot.meter_address)
        for number, slot in zip(itertools.count(1), line.slots)
    )


def stop_before(step: Step) -> dict[str, Any]:
    """Arguments of a run that an operator stops before a step."""
    stop = threading.Event()
    before = STEPS[STEPS.index(step) - 1]

    def on_progress(progress: Progress) -> None:
        if progress.step is before:
            stop.set()

    return {"on_progress": on_progress, "stop": stop}
