from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from signing.installed_version import find_version


@pytest.mark.parametrize("package", ["ampforge", "esptool", "click", "cbor2", "pydantic_core"])
def test_the_version_is_the_one_that_the_standard_library_tells(package):
    assert find_version(package) == version(package)


def test_a_package_that_is_not_installed_has_no_version():
    with pytest.raises(PackageNotFoundError):
        find_version("ampforge_that_nobody_wrote")


def test_the_first_on_the_path_counts_and_an_unusual_one_is_left_to_the_library(
    tmp_path, monkeypatch
):
    for folder, number in (("first", "2.0"), ("second", "1.0")):
        metadata = tmp_path / folder / f"someone-{number}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(
            f"Metadata-Version: 2.4\nName: someone\nVersion: {number}\n\nVersion: 9"
        )
    monkeypatch.setattr(sys, "path", [str(tmp_path / "no"), *map(str, sorted(tmp_path.iterdir()))])
    assert find_version("someone") == "2.0"
    (tmp_path / "first" / "someone-3.0.dist-info").mkdir()
    assert find_version("someone") == version("someone")
