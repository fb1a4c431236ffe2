"""The audit's second opinion: python-tuf's `ngclient`, on any store, from the first root on.

It is given each target that the audit reads, so that no file is read twice for it; metadata it
fetches by itself.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from manifests.repository_reading import TARGET_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manifests.store import Store

_BASE = "store:/"
_NOT_FOUND = 404


class SecondOpinion:
    """What python-tuf's client says of a repository while the audit reads it.

    Attributes:
        problem: What it refused first; `None` if nothing.
    """

    def __init__(self, store: Store, root: bytes, folder: str) -> None:
        self._folder = folder
        self._fetcher = _StoreFetcher(store)
        self.problem: str | None = None
        try:
            self._updater = Updater(
                metadata_dir=folder,
                metadata_base_url=f"{_BASE}/metadata/",
                target_dir=folder,
                target_base_url=f"{_BASE}/targets/",
                fetcher=self._fetcher,
                bootstrap=root,
            )
            self._updater.refresh()
        except (TufError, DownloadError) as error:
            self._refused(error)

    def look_at(self, path: str, file_path: str, content: bytes) -> None:
        """Let the client look a target up and download it.

        Args:
            path: Its TUF path.
            file_path: Where the store has it.
            content: What the store has there.
        """
        if self.problem is not None:
            return
        self._fetcher.offered = {file_path: content}
        try:
            entry = self._updater.get_targetinfo(path)
            if entry is None:
                self.problem = f"it finds no target {path}"
                return
            self._updater.download_target(entry, filepath=f"{self._folder}/target")
        except (TufError, DownloadError) as error:
            self._refused(error)

    def _refused(self, error: Exception) -> None:
        self.problem = f"{type(error).__name__}: {error}"[:300]


@contextmanager
def second_opinion(store: Store, root: bytes) -> Iterator[SecondOpinion]:
    """Give python-tuf's client a scratch folder for a block.

    Args:
        store: The repository.
        root: The first root.
    """
    with tempfile.TemporaryDirectory(prefix="ampforge-audit-") as folder:
        yield SecondOpinion(store, root, folder)


class _StoreFetcher(FetcherInterface):
    def __init__(self, store: Store) -> None:
        self._store = store
        self.offered: dict[str, bytes] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(f"{_BASE}/")
        content = self.offered.get(path)
        if content is None:
            content = self._store.read(path, max_bytes=TARGET_MAX_BYTES)
        if content is None:
            raise DownloadHTTPError(f"no such file: {path}", _NOT_FOUND)
        return iter((content,))
