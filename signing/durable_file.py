"""Files that are either whole or absent after a power cut.

The content goes to a new file in the same folder, is flushed to the disk, takes its name in one
step, and the folder is flushed too. What a kill can leave behind is a file named
`.NAME.<random>.partial`, never a half written NAME.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from signing.errors import DurableFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_RANDOM_BYTES = 4


def save_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write or replace a file in one step that survives a power cut.

    Args:
        path: The file; its folder exists.
        content: All of the new content.
        mode: Permission bits, whatever the umask is.

    Raises:
        DurableFileError: The file cannot be written; an earlier one is unchanged.
    """
    try:
        _refuse_special(path)
        partial = _write_partial(path, (content,), mode)
        try:
            os.replace(partial, path)  # noqa: PTH105 - the temporary name is a str
        except BaseException:
            os.unlink(partial)  # noqa: PTH108 - the temporary name is a str
            raise
        flush_folder(path.parent)
    except OSError as error:
        raise _translated(path, error) from error


def create_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file that must not exist yet, in one step that survives a power cut.

    Args:
        path: The file; its folder exists.
        content: All of its content.
        mode: Permission bits, whatever the umask is.

    Raises:
        DurableFileError: Something of that name exists, or the file cannot be written.
    """
    create_durably_from(path, (content,), mode=mode)


def create_durably_from(path: Path, chunks: Iterable[bytes], *, mode: int = 0o600) -> None:
    """Write a file that must not exist yet from pieces, in one step that survives a power cut.

    Args:
        path: The file; its folder exists.
        chunks: Its content; what the iterable raises comes through, and leaves no file.
        mode: Permission bits, whatever the umask is.

    Raises:
        DurableFileError: Something of that name exists, or the file cannot be written.
    """
    try:
        partial = _write_partial(path, chunks, mode)
        try:
            # A hard link takes a name only if it is free: O_EXCL for a file that is whole already.
            os.link(partial, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial)  # noqa: PTH108 - the temporary name is a str
        flush_folder(path.parent)
    except FileExistsError as error:
        raise DurableFileError(
            "a file exists already and is not overwritten",
            where=path,
            hint="choose another name, or move the existing file away first",
        ) from error
    except OSError as error:
        raise _translated(path, error) from error


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Let nobody else who asks for the same folder in while a file is read, judged and replaced.

    It waits for its turn, leaves no file behind, and a kill gives the folder back. Only for what
    takes moments: never while a person is asked for something.

    Args:
        folder: Exists.

    Raises:
        DurableFileError: The folder cannot be opened or locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _translated(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise _translated(folder, error) from error
        yield
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut: files that came, went or were renamed.

    Raises:
        OSError: The folder cannot be opened, or its file system cannot flush one.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_special(path: Path) -> None:
    # A new file would take the place of a device or pipe, for everybody.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DurableFileError(
            "something else than a file has that name and is not replaced",
            expected="a file, or a free name",
            got="a device, pipe or socket",
            where=path,
            hint="choose another name",
        )


def _write_partial(path: Path, chunks: Iterable[bytes], mode: int) -> str:
    descriptor, partial = _open_partial(path)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(partial)  # noqa: PTH108 - the temporary name is a str
        raise
    return partial


def _open_partial(path: Path) -> tuple[int, str]:
    # What `tempfile.mkstemp` does, whose module brings three compressors with it.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        partial = os.path.join(  # noqa: PTH118 - the temporary name is a str
            path.parent, f".{path.name}.{os.urandom(_RANDOM_BYTES).hex()}.partial"
        )
        with suppress(FileExistsError):  # one that a kill left behind
            return os.open(partial, flags, 0o600), partial


def _translated(path: Path, error: OSError) -> DurableFileError:
    return DurableFileError(
        "a file cannot be written",
        got=error.strerror or type(error).__name__,
        where=path,
        hint="check that the folder exists, is writable, and has space left",
    )
