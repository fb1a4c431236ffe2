"""A published repository behind a URL, to read only: what an auditor sees through a server or CDN.

Only whole files are fetched, each bounded and at a pace; redirects are not followed. It cannot
list.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from manifests.connection_failures import describe_cause
from manifests.errors import RepositoryError
from manifests.http_transport import DEFAULT_TIMEOUT_S, HTTP_OK, parse_base_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_ABSENT = (403, 404, 410)  # a bucket that may not be listed says 403 for what is not there


class UrlStore:
    """A `store.Store` that refuses to be written.

    Args:
        base_url: The server's root, `http://` or `https://`.
        timeout_s: Longest wait for a connection, and for each read; after as much each answer has
            to keep a pace.
    """

    def __init__(self, base_url: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        import urllib3

        self._base_url = parse_base_url(base_url)
        from manifests.paced_answers import PacedAnswers

        self._answers = PacedAnswers(grace_s=timeout_s)
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False)
        self._pool.pool_classes_by_scheme = self._answers.pool_classes

    def __str__(self) -> str:
        return self._base_url

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """Return a file's content, or `None` if the server has no such file.

        Raises:
            RepositoryError: The server cannot be reached, refuses, or sends more than `max_bytes`.
        """
        import urllib3

        url = f"{self._base_url}/{path}"
        self._answers.expect(max_bytes)
        try:
            response = self._pool.request(
                "GET",
                url,
                headers={"Accept-Encoding": "identity"},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                content = response.read(max_bytes + 1)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RepositoryError(
                "a file of the repository cannot be fetched",
                got=describe_cause(error),
                where=url,
                hint="check the URL, and that the server runs",
            ) from error
        if response.status in _ABSENT:
            return None
        if response.status != HTTP_OK or len(content) > max_bytes:
            raise RepositoryError(
                "a file of the repository cannot be fetched",
                expected=f"status {HTTP_OK} and at most {max_bytes} bytes",
                got=f"status {response.status}, {len(content)} bytes",
                where=url,
            )
        return content

    def write(self, path: str, content: bytes) -> None:
        """Refuse: a URL is read only."""
        del content
        self._refuse(path)

    def copy(self, source: str, destination: str) -> None:
        """Refuse: a URL is read only."""
        del source
        self._refuse(destination)

    def list_paths(self) -> Iterator[str]:
        """Refuse: HTTP has no listing."""
        self._refuse("")

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Refuse: a URL is read only."""
        self._refuse("")
        yield

    def _refuse(self, path: str) -> NoReturn:
        raise RepositoryError(
            "a URL is only read from",
            expected="a folder or a bucket",
            got=self._base_url,
            where=path or None,
        )
