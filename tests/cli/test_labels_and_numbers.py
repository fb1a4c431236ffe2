"""`serials check`, `unit label`, formats and lots, as a person at the line uses them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zxingcpp
from click.testing import CliRunner
from PIL import Image

from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge

MAC = "02:5a:48:c0:00:00"


def invoke(*arguments, code=0):
    result = CliRunner().invoke(ampforge, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert code is None, result.exception
        return result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A product with one released unit and one that is not."""
    folder = tmp_path_factory.mktemp("product") / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for arguments in (
            ["station", "init", "--no-passphrase", "--test-keys"],
            ["trust", "sign", "--factory-ca", "station/factory-ca.cert.der"],
            ["policy", "approve"],
            ["bundle", "build"],
            ["bundle", "sign", "build/flare-1.4.0.bundle.zip"],
            ["station", "run", "--simulate", "1", "--lot", "L4711"],
        ):
            invoke(*arguments)
    return folder


@pytest.fixture
def product(made, tmp_path, monkeypatch):
    folder = tmp_path / "flare"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def show():
    return json.loads(invoke("unit", "show", MAC, "--json"))


def test_show_tells_the_udi_and_a_scanned_label_finds_the_unit(product):
    udi = show()["udi"]
    assert udi["lot"] == "L4711"
    assert udi["human_readable"] in invoke("unit", "show", MAC)
    for scanned in (udi["element_string"], "]d2" + udi["element_string"], udi["human_readable"]):
        assert json.loads(invoke("unit", "show", scanned, "--json"))["mac"] == MAC


def test_a_label_is_what_the_record_says(product):
    udi = show()["udi"]
    document = json.loads(invoke("unit", "label", udi["serial"], "--output", "label.png", "--json"))
    assert document["labels"][0]["udi"] == udi
    content = (product / "label.png").read_bytes()
    (read,) = zxingcpp.read_barcodes(np.asarray(Image.open(io.BytesIO(content))))
    assert (read.symbology_identifier, read.bytes.decode()) == ("]d2", udi["element_string"])
    text = invoke("unit", "label", "--all-released", "--output", "all.zpl")
    assert "print it without scaling" in text
    assert (product / "all.zpl").read_text().count("^XA") == 1


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        ((MAC, "--output", "label.jpg"), "what to write"),
        (("--output", "label.svg"), "which labels"),
        ((MAC, "--all-released", "--output", "label.zpl"), "which labels"),
        ((MAC, "--since", "2026-01-01", "--output", "label.svg"), "which labels"),
        (("--all-released", "--output", "label.svg"), "one label"),
        ((MAC, MAC, "--output", "label.svg"), "one label"),
        (("--all-released", "--since", "2099-01-01", "--output", "label.zpl"), "no label"),
        ((MAC, "--output", "label.svg", "--module-dots", "1"), "size that GS1"),
        (("AMPFL1264800009X", "--output", "label.svg"), "check character"),
    ],
)
def test_a_label_that_cannot_be_written_is_refused_and_no_file_appears(product, arguments, telling):
    before = sorted(product.iterdir())
    assert telling in str(invoke("unit", "label", *arguments, code=None))
    assert sorted(product.iterdir()) == before


def test_a_unit_that_is_not_released_has_no_label(product):
    reason = ("--reason", "a scratch on the housing")
    invoke("unit", "rework", MAC, *reason)
    refusal = str(invoke("unit", "label", MAC, "--output", "label.svg", code=None))
    assert "not released" in refusal
    assert not (product / "label.svg").exists()


def test_a_typed_number_is_explained(product):
    serial = show()["serial"]
    text = invoke("serials", "check", f"{serial[:6].lower()}-{serial[6:]}")
    assert f"{serial} is right" in text
    assert f"released, {MAC}" in text
    wrong = invoke("serials", "check", serial[:4] + serial[5] + serial[4] + serial[6:], code=6)
    assert f"perhaps   {serial}" in wrong
    document = json.loads(invoke("serials", "check", serial[:-1] + "?", "--json", code=6))
    assert (document["schema"], document["ok"]) == ("ampforge.serial-check/1", False)
    assert document["perhaps"][0] == {
        "serial": serial, "change": f"character 16 is {serial[-1]}, not ?", "is_given": True,
    }  # fmt: skip


def test_a_number_is_explained_where_there_is_no_ledger(product):
    serial = show()["serial"]
    (product / "station").rename(product / "elsewhere")
    text = invoke("serials", "check", serial)
    assert "not known" in text
    assert not (product / "station").exists()


def test_the_format_of_a_ledger_in_use_cannot_be_changed(product):
    path = product / "ampforge.toml"
    path.write_text(path.read_text().replace("PPPMMMYYWWSSSSSC", "PPPMMMYYSSSSSC"))
    assert "another format" in str(invoke("station", "run", "--simulate", "1", code=None))
    checked = invoke("station", "check", code=6)
    assert "ERROR  serial numbers: the ledger has serial numbers of another format" in checked
    assert "ok     ledger" in checked


def test_a_product_with_its_own_format_is_made_from_the_first_board_on(product):
    shutil.rmtree(product / "station")
    path = product / "ampforge.toml"
    path.write_text(path.read_text().replace("PPPMMMYYWWSSSSSC", "PPPMMMYYSSSSC"))
    made = json.loads(invoke("station", "init", "--no-passphrase", "--test-keys", "--json"))
    assert made["serials"] == {"format": "PPPMMMYYSSSSC", "prefix": "AMP", "model": "FL1"}
    invoke("trust", "sign", "--factory-ca", "station/factory-ca.cert.der")
    invoke("station", "run", "--simulate", "1")
    serial = show()["serial"]
    assert len(serial) == 13
    assert show()["udi"]["serial"] == serial
    assert f"such as {serial}: 32" in invoke("station", "check")
    assert "is right" in invoke("serials", "check", serial)


def test_a_reader_that_goes_away_does_not_change_the_exit_code(product):
    """A script with `| head` must still learn that something is wrong."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "serials", "check", "X"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (6, b"")
