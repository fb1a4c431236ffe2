from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from signing.durable_file import create_durably, save_durably
from signing.errors import DurableFileError

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_saved_replaced_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    save_durably(path, b"one")
    save_durably(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["a.bin"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        save_durably(tmp_path / "a", b"", mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_new_file_is_private_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    create_durably(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(DurableFileError, match=r"exists already.*key\.pem"):
        create_durably(path, b"other")
    assert path.read_bytes() == b"secret"
    assert names(tmp_path) == ["key.pem"]


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DurableFileError, match="exists already"):
        create_durably(path, b"secret")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("write", [save_durably, create_durably])
def test_a_missing_folder_is_refused(tmp_path: Path, write) -> None:
    with pytest.raises(DurableFileError, match="cannot be written: got No such file") as refused:
        write(tmp_path / "no" / "a", b"")
    assert "folder exists" in (refused.value.hint or "")


@pytest.mark.parametrize(("write", "step"), [(save_durably, "replace"), (create_durably, "link")])
def test_a_failure_at_the_last_step_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(DurableFileError, match="No space left"):
        write(tmp_path / "a", b"content")
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [save_durably, create_durably])
def test_a_failure_to_reach_the_disk_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DurableFileError, match="Input/output error"):
        write(tmp_path / "a", b"content")
    assert names(tmp_path) == []


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DurableFileError, match="not replaced"):
        save_durably(tmp_path / "pipe", b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
