"""Where a repository's files are kept: three verbs over paths, the same for a folder or a bucket.

`FolderStore` writes each file durably (whole or not at all) and keeps two publishers apart. It
knows nothing of what the files mean, nor in which order they must appear: that is `repository`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from manifests.errors import RepositoryError
from signing.durable_file import flush_folder, save_durably
from signing.errors import DurableFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

LOCK_NAME = ".publishing.lock"
LOCK_MODE = 0o600
"""Who can open it can hold it, reading alone: nobody else may keep a release from going back."""


class Store(Protocol):
    """Files by relative path, with `/` between the parts."""

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """Return a file's content, or `None` if there is no such file."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Create or replace a file in one step that survives a power cut."""
        ...

    def copy(self, source: str, destination: str) -> None:
        """Give a file that never changes a second path, in one step."""
        ...

    def list_paths(self) -> Iterable[str]:
        """Return the path of every file, in no order."""
        ...

    def exclusively(self) -> AbstractContextManager[None]:
        """Hold the store for one publisher."""
        ...


class FolderStore:
    """A store in a folder on this machine.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """Return a file's content, or `None` if there is no such file.

        Raises:
            RepositoryError: It cannot be read, or is larger than any that we write.
        """
        try:
            with (self.root / path).open("rb") as file:
                content = file.read(max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RepositoryError(
                "a file of the repository cannot be read",
                got=error.strerror,
                where=self.root / path,
            ) from error
        if len(content) > max_bytes:
            raise RepositoryError(
                "a file of the repository is too large",
                expected=f"at most {max_bytes} bytes",
                got="more",
                where=self.root / path,
            )
        return content

    def write(self, path: str, content: bytes) -> None:
        """Create or replace a file durably.

        Raises:
            RepositoryError: It cannot be written; an earlier one is unchanged.
        """
        target = self.root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_durably(target, content)
        except (OSError, DurableFileError) as error:
            raise _cannot_write(target, error) from error

    def copy(self, source: str, destination: str) -> None:
        """Give a file a second name by a hard link, or by a copy where links cannot be made.

        Raises:
            RepositoryError: The second name cannot be made.
        """
        target = self.root / destination
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.root / source, target)
            flush_folder(target.parent)
        except FileExistsError:
            return
        except OSError:
            try:
                save_durably(target, (self.root / source).read_bytes())
            except (OSError, DurableFileError) as error:
                raise _cannot_write(target, error) from error

    def list_paths(self) -> Iterator[str]:
        """Yield the path of every file; none of a folder that is not there.

        Raises:
            RepositoryError: The folder cannot be listed.
        """
        if not self.root.exists():
            return

        def refuse(error: OSError) -> None:
            raise RepositoryError(
                "a folder of the repository cannot be listed",
                got=error.strerror,
                where=error.filename,
            ) from error

        for folder, _, names in os.walk(self.root, onerror=refuse):
            for name in names:
                yield os.path.relpath(os.path.join(folder, name), self.root)  # noqa: PTH118 - walk's own str

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the folder for one publisher.

        Raises:
            RepositoryError: Another process publishes right now, or the folder is not writable.
        """
        import fcntl

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(
                self.root / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, LOCK_MODE
            )
        except OSError as error:
            raise _cannot_write(self.root / LOCK_NAME, error) from error
        try:
            with suppress(OSError):
                os.fchmod(descriptor, LOCK_MODE)  # of an earlier version, readable for all
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RepositoryError(
                    "somebody else publishes to this repository right now",
                    where=self.root,
                    hint="wait until that is done, then run the command again",
                ) from error
            yield
        finally:
            os.close(descriptor)


def _cannot_write(path: Path, error: OSError | DurableFileError) -> RepositoryError:
    got = error.strerror if isinstance(error, OSError) else error.got
    return RepositoryError(
        "a file of the repository cannot be written",
        got=got,
        where=path,
        hint="check that the folder is writable and has space left",
    )
