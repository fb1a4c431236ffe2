"""The same inputs give the same unsigned bundle, whatever machine, day and account builds it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.init_command import copy_example, sign_first_trust_record
from cli.main import ampforge
from firmware_images.bundle_archive import parse_archive
from tests.firmware_images.test_esp_image import CODE, build_descriptor, build_image
from tests.firmware_images.tiny_elf import build_elf

SBOM = b"""{"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber":
"urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79", "metadata": {"timestamp": "2026-03-01T12:00:00Z"},
"components": [{"type": "library", "name": "b"}, {"type": "library", "name": "a \xc2\xb5"}]}"""
MACHINES = (
    {
        "umask": 0o077,
        "mtime_s": 0,
        "environment": {
            "TZ": "Pacific/Kiritimati",
            "LC_ALL": "C",
            "PYTHONHASHSEED": "1",
            "SOURCE_DATE_EPOCH": "0",
            "COLUMNS": "40",
        },
    },
    {
        "umask": 0o000,
        "mtime_s": 2_000_000_000,
        "environment": {
            "TZ": "America/St_Johns",
            "LC_ALL": "C.UTF-8",
            "PYTHONHASHSEED": "4711",
            "PYTHONUTF8": "1",
            "SOURCE_DATE_EPOCH": "1790000000",
            "USER": "somebody",
            "TERM": "xterm-256color",
        },
    },
)


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    """The example product with an ELF file for its app, a bootloader and a bill of materials."""
    folder = tmp_path_factory.mktemp("product") / "flare"
    copy_example(folder)
    sign_first_trust_record(folder)
    config = ["--config", str(folder / "ampforge.toml")]
    # The ELF file's app has secure version 3, which its boards are taken to hold already.
    adopt = ["bundle", "secure-version", "adopt", "3", "--reason", "a test"]
    for command in (["policy", "approve"], adopt):
        assert CliRunner().invoke(ampforge, [*command, *config]).exit_code == 0
    (folder / "app.elf").write_bytes(build_elf("esp32c3", build_descriptor(page=0)))
    (folder / "bootloader" / "bootloader.bin").write_bytes(build_image(CODE))
    (folder / "sbom.json").write_bytes(SBOM)
    return folder


def start(product: Path, folder: Path, machine) -> subprocess.Popen[str]:
    """Begin a build in a copy of the product, as on another machine."""
    shutil.copytree(product, folder)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (machine["mtime_s"], machine["mtime_s"]))
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    command = [str(Path(sys.executable).with_name("ampforge")), "bundle", "build"]
    return subprocess.Popen(
        [*command, "--app", "app.elf", "--sbom", "sbom.json", "--output", "release.zip"],
        cwd=folder,
        env={**kept, **machine["environment"], "HOME": str(folder)},
        umask=machine["umask"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_machines_build_the_same_bytes(product, tmp_path):
    folders = (tmp_path / "a", tmp_path / "much longer — and with a space" / "b")
    runs = [
        start(product, folder, machine) for folder, machine in zip(folders, MACHINES, strict=True)
    ]
    for run in runs:
        printed, _ = run.communicate(timeout=60)
        assert run.returncode == 0, printed
    one, two = ((folder / "release.zip").read_bytes() for folder in folders)
    assert one == two
    members = parse_archive(one)
    assert {"app.bin", "bootloader.bin", "sbom.json", "provenance.json"} <= members.keys()
    for place in (b"much longer", str(tmp_path).encode(), b"somebody"):
        assert all(place not in content for content in members.values())
