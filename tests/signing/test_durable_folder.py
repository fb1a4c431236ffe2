"""`durable_folder`: a folder that is whole, or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from signing.durable_folder import create_folder_durably
from signing.errors import DurableFileError

FILES = {"a.bin": b"1", "sources/b.toml": b"22"}


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_folder_holds_exactly_the_files(tmp_path):
    create_folder_durably(tmp_path / "new", FILES)
    assert read_tree(tmp_path) == {"new/a.bin": b"1", "new/sources/b.toml": b"22"}


def test_an_empty_folder_is_filled_and_a_link_to_one_is_followed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    create_folder_durably(tmp_path / "link", FILES)
    assert read_tree(tmp_path / "empty") == FILES
    assert (tmp_path / "link").is_symlink()


def test_new_folders_and_files_have_the_modes_of_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        create_folder_durably(tmp_path / "new", FILES)
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "a.bin").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["full", "file", "."])
def test_nothing_is_written_over(tmp_path, monkeypatch, name):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = read_tree(tmp_path)
    target = Path() if name == "." else tmp_path / name
    with pytest.raises(DurableFileError, match="not written over"):
        create_folder_durably(target, FILES)
    assert read_tree(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [
        *("../out", "/etc/x", "a/../../out", "a/b/c", "", ".", "..", ".hidden", "a/.ssh"),
        *("a\\b", "a\0b", "a\nb", "a:b", "~x"),
    ],
)
def test_a_name_that_leads_elsewhere_leaves_nothing_behind(tmp_path, name):
    with pytest.raises(DurableFileError, match="name is not acceptable"):
        create_folder_durably(tmp_path / "new", {"a.bin": b"1", name: b"2"})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_takes_all_with_it(tmp_path):
    with pytest.raises(DurableFileError, match="cannot be written"):
        create_folder_durably(tmp_path / "new", {"a": b"1", "a/b": b"2"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_above_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DurableFileError, match="No such file"):
        create_folder_durably(tmp_path / "missing" / "new", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_circle_of_links_is_refused(tmp_path):
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    with pytest.raises(DurableFileError, match="cannot be written"):
        create_folder_durably(circle, FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["circle"]
