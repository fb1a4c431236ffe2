"""What is installed: exactly the five packages, the example, and no clash with a dependency."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

PACKAGES = {"cli", "firmware_images", "manifests", "provisioning", "signing"}
PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_exactly_the_five_packages(wheel_names):
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_carries_the_example_product_and_what_is_not_python(wheel_names):
    for name in (
        "cli/examples/flare/ampforge.toml",
        "cli/examples/flare/waveforms.toml",
        "cli/examples/flare/limits.toml",
        "cli/examples/flare/partitions.csv",
        "cli/examples/flare/firmware/images/flare-1.4.0.bin",
        "cli/examples/flare/firmware/images/flare-1.5.0.bin",
        "cli/py.typed",
    ):
        assert name in wheel_names


def test_the_wheel_holds_no_build_leftovers(wheel_names):
    assert [name for name in wheel_names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_no_dependency_has_a_top_level_name_of_ours():
    owners = packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["ampforge"])) == {"ampforge"}


def test_the_console_script_is_ampforge():
    scripts = distribution("ampforge").entry_points.select(group="console_scripts")
    assert {script.name for script in scripts} == {"ampforge"}
