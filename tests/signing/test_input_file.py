from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from signing.errors import KeyFileError, TrustError
from signing.input_file import is_present, read_input, read_input_and_mode
from signing.key_files import load_public_key
from signing.key_uris import load_signer
from signing.trust_file import load_trust_record


def test_a_file_is_read_whole_or_up_to_one_byte_more_than_the_bound(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_input(path, 5) == b"12345"
    assert read_input(path, 3) == b"1234"
    assert read_input(Path("/dev/zero"), 9) == bytes(10)


def test_the_mode_is_that_of_the_file_that_was_read(tmp_path):
    path = tmp_path / "a"
    path.touch(mode=0o640)
    assert read_input_and_mode(path, 1)[1] & 0o777 == 0o640


def test_a_pipe_that_nobody_writes_to_reads_as_empty_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert read_input(tmp_path / "pipe", 100) == b""


def test_a_pipe_with_a_writer_reads_to_its_end():
    receiver, sender = os.pipe()
    content = bytes(range(256)) * 1024  # more than a pipe holds at once

    def write() -> None:
        with os.fdopen(sender, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    assert read_input(Path(f"/dev/fd/{receiver}"), 1 << 20) == content
    writer.join()
    os.close(receiver)


def test_a_name_that_no_system_has_is_an_error_of_the_system():
    with pytest.raises(OSError, match="Not a file name"):
        read_input(Path("a\0b"), 1)


@pytest.mark.parametrize("load", [load_signer, load_public_key, load_trust_record])
@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "."])
def test_a_name_that_cannot_be_read_is_refused_in_our_words(load, name):
    with pytest.raises((KeyFileError, TrustError), match="cannot be read") as refused:
        load(name if load is load_signer else Path(name))
    assert refused.value.hint


def test_only_what_is_surely_not_there_counts_as_absent(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert is_present(tmp_path / "file")
    assert not is_present(tmp_path / "other")
    assert not is_present(tmp_path / "dangling")
    assert not is_present(tmp_path / "file" / "below")
    assert is_present(tmp_path / ("x" * 300))
    assert is_present(Path("a\0b"))
