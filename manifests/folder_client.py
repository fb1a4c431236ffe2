"""python-tuf's own client on a repository folder, without a server between.

What an auditor runs on a copy of a repository, and what a drill shows refusals with. The folder is
as little trusted as a server: everything that comes out was verified from the first root on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from manifests.errors import RepositoryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BASE = "folder:/"
_NOT_FOUND = 404


class FolderClient:
    """A TUF client with a cache of its own, that reads one repository folder after the other.

    Args:
        trusted_root: The first root metadata, from a trusted place.
        cache: Folder for what was verified; kept, it protects against going back in time.
    """

    def __init__(self, trusted_root: bytes, cache: Path) -> None:
        self._trusted_root = trusted_root
        self._cache = cache

    def read_target(self, repository: Path, path: str) -> bytes:
        """Bring the metadata up to date, and return a target, verified.

        Args:
            repository: The repository's folder.
            path: The target's TUF path.

        Raises:
            RepositoryError: The metadata or the target does not verify, or there is no such target.
        """
        targets = self._cache / "targets"
        targets.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            metadata_dir=str(self._cache),
            metadata_base_url=f"{_BASE}/metadata/",
            target_dir=str(targets),
            target_base_url=f"{_BASE}/targets/",
            fetcher=_FolderFetcher(repository),
            bootstrap=self._trusted_root,
        )
        try:
            updater.refresh()
            entry = updater.get_targetinfo(path)
            if entry is not None:
                with open(updater.download_target(entry), "rb") as file:  # noqa: PTH123 - a str
                    return file.read()
        except TufError as error:
            raise RepositoryError(
                "what the repository shows does not verify",
                expected="metadata and targets signed by the product's roles, and not expired",
                got=f"{type(error).__name__}: {error}"[:300],
                where=repository,
            ) from error
        raise RepositoryError(
            "the repository lists no such target", expected=path, got="nothing", where=repository
        )


class _FolderFetcher(FetcherInterface):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix(f"{_BASE}/")
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"no such file: {path.name}", _NOT_FOUND) from error
        return iter((content,))
