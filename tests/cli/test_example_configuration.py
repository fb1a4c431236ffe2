"""The example's `ampforge.toml` shows every section, and tells the truth about the defaults."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import fields, is_dataclass

import pytest

from cli.configuration import SECTIONS, load_configuration
from firmware_images.delta_settings import DeltaSettings
from firmware_images.efuse_plan import DownloadMode, load_efuse_plan
from firmware_images.nvs_plan import load_nvs_plan
from firmware_images.partitions import load_partition_table
from firmware_images.product import ProductSettings, ReleaseSettings
from firmware_images.spec_sheet_settings import SpecSheetSettings
from manifests.manifests_settings import (
    RepositorySettings,
    ServeSettings,
    SuitSettings,
    UpdateSettings,
)
from manifests.suit_identity import SuitIdentity
from provisioning.measurement_settings import MetrologySettings
from provisioning.meter_settings import MeterSettings
from provisioning.station_settings import SerialSettings, StationSettings
from provisioning.station_values import SlotConfig
from signing.roles_settings import SigningSettings
from tests.firmware_images.release_parts import FLARE

EXAMPLE = FLARE / "ampforge.toml"
DEFAULTS = {
    "station": StationSettings,
    "station.serials": SerialSettings,
    "station.metrology": MetrologySettings,
    "station.meter": MeterSettings,
    "repository": RepositorySettings,
    "delta": DeltaSettings,
    "serve": ServeSettings,
    "update": UpdateSettings,
}
CHOSEN = {
    "product": ProductSettings,
    "release": ReleaseSettings,
    "signing": SigningSettings,
    "spec_sheet": SpecSheetSettings,
    "suit": SuitSettings,
}
EXAMPLE_LINE = re.compile(r"^# (\[.*\]|[a-z_]+ = .*)$", re.MULTILINE)


@pytest.mark.parametrize("section", DEFAULTS)
def test_a_section_of_defaults_states_the_defaults(section):
    assert load_configuration(EXAMPLE).section(section, DEFAULTS[section]) == DEFAULTS[section]()


def test_every_section_of_the_example_is_read_by_a_model():
    configuration = load_configuration(EXAMPLE)
    for section, model in CHOSEN.items():
        assert configuration.section(section, model)
    known = set(CHOSEN) | {name for name in DEFAULTS if "." not in name}
    assert set(configuration.document) == known == set(SECTIONS)


@pytest.mark.parametrize("section", [name for name in DEFAULTS if name != "station.metrology"])
def test_the_example_leaves_out_no_default(section):
    """All of metrology would hide the figures that are changed first."""
    table = load_configuration(EXAMPLE).document
    for part in section.split("."):
        table = table[part]
    optional = {"slots", "lot", "model", "nvs", "efuses", "ca", "ledger", "bucket", "endpoint"}
    optional |= {"access_log", "control", "metrics_port", "tls_certificate", "tls_key"}
    optional |= {"check_standard", "denied_devices", "zero_limit_na"}
    model = DEFAULTS[section]
    known = {f.name for f in fields(model)} if is_dataclass(model) else set(model.model_fields)
    assert known - optional == set(table) - optional


def test_what_is_commented_out_works_when_it_is_not(tmp_path):
    path = tmp_path / "ampforge.toml"
    text, count = EXAMPLE_LINE.subn(r"\1", EXAMPLE.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert count == 28
    configuration = load_configuration(path)
    product = configuration.section("product", ProductSettings)
    assert (product.supported_until, product.secure_version_bits) == ("2031-12-31", 16)
    assert configuration.section("release", ReleaseSettings).minimum_current_counter == 0
    suit = configuration.section("suit", SuitSettings)
    assert SuitIdentity(vendor_domain=suit.vendor_domain, base_url=suit.base_url)
    settings = configuration.section("station", StationSettings)
    assert settings.slot_configs() == (
        SlotConfig(name="left", port="usb:A50285BI", meter="TCPIP0::192.168.1.20::5025::SOCKET"),
    )
    standard = settings.check_standard
    assert standard is not None
    assert (standard.name, standard.every_units, standard.every_s) == ("source 7", 20, 28_800.0)
    assert (standard.certificate, standard.due) == ("SRC-7-2026", dt.date(2027, 3, 1))
    assert settings.nvs is not None
    plan = load_nvs_plan(EXAMPLE.parent / settings.nvs)
    plan.check(load_partition_table(EXAMPLE.parent / "partitions.csv"))
    assert settings.efuses is not None
    assert settings.meter.zero_limit_na == 60
    efuses = load_efuse_plan(EXAMPLE.parent / settings.efuses)
    assert (efuses.download_mode, efuses.enable_secure_boot) == (DownloadMode.OPEN, False)
