"""The audit's second opinion: python-tuf's `ngclient`, on any store, from the first root on."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from manifests.repository_reading import TARGET_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manifests.store import Store
    from manifests.tuf_metadata import RepositoryMetadata

_BASE = "store:/"
_NOT_FOUND = 404


def read_everything(store: Store, root: bytes, metadata: RepositoryMetadata) -> str | None:
    """Let python-tuf's client fetch every target; return what it refuses, or `None`.

    Args:
        store: The repository.
        root: The first root.
        metadata: Says which targets there are.
    """
    with tempfile.TemporaryDirectory(prefix="ampforge-audit-") as folder:
        try:
            updater = Updater(
                metadata_dir=folder,
                metadata_base_url=f"{_BASE}/metadata/",
                target_dir=folder,
                target_base_url=f"{_BASE}/targets/",
                fetcher=_StoreFetcher(store),
                bootstrap=root,
            )
            updater.refresh()
            for path in (*metadata.targets.signed.targets, *metadata.campaign.signed.targets):
                entry = updater.get_targetinfo(path)
                if entry is None:
                    return f"it finds no target {path}"
                updater.download_target(entry, filepath=f"{folder}/target")
        except (TufError, DownloadHTTPError) as error:
            return f"{type(error).__name__}: {error}"[:300]
    return None


class _StoreFetcher(FetcherInterface):
    def __init__(self, store: Store) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = url.removeprefix(f"{_BASE}/")
        content = self._store.read(path, max_bytes=TARGET_MAX_BYTES)
        if content is None:
            raise DownloadHTTPError(f"no such file: {path}", _NOT_FOUND)
        return iter((content,))
