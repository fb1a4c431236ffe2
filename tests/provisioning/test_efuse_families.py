"""An eFuse plan is burned by espefuse on virtual chips of every family that a plan may be for."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import pytest
from espefuse import get_esp

from firmware_images.efuse_chips import EFUSE_CHIPS
from firmware_images.efuse_comparison import Status, compare_efuses
from firmware_images.efuse_fields import Stage
from firmware_images.efuse_plan import parse_efuse_plan
from firmware_images.errors import EfusePlanError
from firmware_images.secure_boot_chips import CHIPS
from firmware_images.signature_sector import key_digest
from firmware_images.unit_values import EXAMPLE_UNIT
from provisioning.efuse_access import EspefuseAccess
from provisioning.unit_key_storage import HMAC_UP
from signing.keys import Algorithm
from signing.signers import SoftwareSigner
from tests.conftest import IS_SOAK
from tests.espressif_tools import summarise_efuses

PLAN = """secure_boot_keys = ["first", "second"]
enable_secure_boot = true
revoke_unused_digests = true
disable_jtag = true
download_mode = "{mode}"
user_data = "{{serial}}"
"""
FAMILIES = sorted(EFUSE_CHIPS)
OTHERS = sorted(CHIPS.keys() - EFUSE_CHIPS.keys())


@cache
def _make_key(name, algorithm):
    return SoftwareSigner.generate(algorithm)


def key(name, algorithm=Algorithm.RSA_3072):
    return _make_key(name, algorithm)


def parse(chip, mode="secure", algorithm=Algorithm.RSA_3072):
    return parse_efuse_plan(
        PLAN.format(mode=mode).encode(),
        load_key=lambda name: key(name, algorithm).public_key, where="efuses.toml", chip=chip,
    )  # fmt: skip


def open_virtual(chip, path):
    esp = get_esp(chip=chip, virt=True, virt_efuse_file=str(path))
    return EspefuseAccess(esp, talking=nullcontext, where=chip)


def burn_all(access, fields):
    """Burn stage by stage, as the station does."""
    for stage in Stage:
        of_stage = [field for field in fields if field.stage is stage]
        if of_stage:
            access.burn(of_stage)


def compare(access, fields):
    facts = access.read({field.name for field in fields})
    return {one.field.label: one for one in compare_efuses(fields, facts)}


def summary(chip, path):
    fields = summarise_efuses(path, chip=chip)
    return {name: entry["value"] for name, entry in fields.items()}


@pytest.mark.parametrize("chip", FAMILIES)
def test_a_plan_is_burned_read_back_and_burned_again_without_effect(chip, tmp_path):
    path = tmp_path / "efuse.bin"
    plan = parse(chip)
    fields = plan.fields(EXAMPLE_UNIT)
    before = compare(open_virtual(chip, path), fields)
    assert {one.status for one in before.values()} <= {Status.BURN, Status.THERE}
    assert before["SECURE_BOOT_EN"].status is Status.BURN
    burn_all(open_virtual(chip, path), fields)
    content = path.read_bytes()
    after = compare(open_virtual(chip, path), fields)
    assert {one.status for one in after.values()} == {Status.THERE}, after
    fuses = summary(chip, path)
    for number, name in enumerate(("first", "second")):
        digest = key_digest(key(name).public_key)
        assert fuses[f"BLOCK_KEY{number}"] == digest.hex(" ")
        assert fuses[f"KEY_PURPOSE_{number}"] == f"SECURE_BOOT_DIGEST{number}"
    assert [fuses[f"SECURE_BOOT_KEY_REVOKE{slot}"] for slot in range(3)] == [False, False, True]
    assert fuses["SECURE_BOOT_EN"] is fuses["ENABLE_SECURITY_DOWNLOAD"] is True
    assert (fuses["SOFT_DIS_JTAG"], fuses["DIS_PAD_JTAG"], fuses["DIS_USB_JTAG"]) == (7, True, True)
    assert all(fuses[name] for name in EFUSE_CHIPS[chip].other_download_ways)
    assert path.read_bytes() == content


@pytest.mark.parametrize("chip", FAMILIES if IS_SOAK else ["esp32s3"])
def test_a_contradicting_field_is_a_conflict_in_every_family(chip, tmp_path):
    path = tmp_path / "efuse.bin"
    fields = parse(chip).fields(EXAMPLE_UNIT)
    commands = open_virtual(chip, path)
    burn_all(commands, parse(chip).fields(EXAMPLE_UNIT))
    other = parse_efuse_plan(
        b'secure_boot_keys = ["second", "first"]\nuser_data = "other"\n',
        load_key=lambda name: key(name).public_key, where="other.toml", chip=chip,
    )  # fmt: skip
    found = compare(open_virtual(chip, path), other.fields(EXAMPLE_UNIT))
    assert found["BLOCK_KEY0"].status is found["BLOCK_USR_DATA"].status is Status.CONFLICT
    assert compare(open_virtual(chip, path), fields)["BLOCK_KEY0"].status is Status.THERE


@pytest.mark.parametrize("chip", FAMILIES)
def test_the_purpose_of_the_key_storage_and_of_digests_is_the_same_number_in_every_family(chip):
    access = open_virtual(chip, "")
    known = access._commands().efuses["KEY_PURPOSE_0"].KEY_PURPOSES
    purposes = {name: number for name, number, *_ in known}
    assert purposes["HMAC_UP"] == HMAC_UP
    assert [purposes[f"SECURE_BOOT_DIGEST{slot}"] for slot in range(3)] == [9, 10, 11]


@pytest.mark.parametrize("chip", [*OTHERS, "esp32x9"])
def test_a_plan_for_a_chip_that_is_not_known_is_refused_with_those_that_are(chip):
    with pytest.raises(EfusePlanError, match="not known for this chip") as caught:
        parse(chip)
    assert "esp32h2" in str(caught.value)


@pytest.mark.parametrize(
    ("chip", "telling"),
    [
        ("esp32s3", "does not verify signatures of this key"),
        ("esp32h2", "accepts some invalid ECDSA signatures"),
    ],
)
def test_keys_that_a_family_does_not_verify_soundly_are_refused(chip, telling):
    with pytest.raises(EfusePlanError, match=telling):
        parse(chip, algorithm=Algorithm.ECDSA_P256)


def test_a_plan_of_a_family_is_another_plan_only_where_it_burns_something_else():
    digests = {chip: parse(chip).digest for chip in FAMILIES}
    assert digests["esp32c3"] == digests["esp32c6"] == digests["esp32h2"]
    assert digests["esp32s3"] != digests["esp32c3"]
    assert parse("esp32c6", algorithm=Algorithm.ECDSA_P256).key_digests
