"""How the gateway's TUF client fetches: as python-tuf does, but never unpacked and never for ever.

python-tuf's own fetcher bounds each wait and each file's length. Beside that, this one bounds the
average pace of each whole answer (`paced_answers`), and takes bytes as they come: what a server
compresses on the way is not unpacked, so a small answer cannot become a large one. Redirects are
not followed: a server would have the gateway ask others in its own network.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import urllib3
from tuf.api.exceptions import DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from manifests.download_pace import MINIMUM_BYTES_PER_S
from manifests.paced_answers import PacedAnswers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import _GeneratorContextManager
    from typing import IO, Any

PIECE_BYTES = 64 << 10


class GatewayFetcher(Urllib3Fetcher):
    """A fetcher for python-tuf's `Updater`.

    Args:
        timeout_s: Longest wait for a connection, and for each read; grace before the pace counts.
        minimum_bytes_per_s: The average of each answer after that.
    """

    def __init__(
        self, *, timeout_s: float, minimum_bytes_per_s: float = MINIMUM_BYTES_PER_S
    ) -> None:
        super().__init__()
        # A number of seconds like any other: urllib3 takes fractions, python-tuf's hint does not.
        self.socket_timeout = timeout_s  # type: ignore[assignment]
        self._answers = PacedAnswers(grace_s=timeout_s, minimum_bytes_per_s=minimum_bytes_per_s)
        # python-tuf makes one manager for each proxy of the environment, and offers no other way.
        self._find_manager = self._proxy_env.get_pool_manager
        self._proxy_env.get_pool_manager = self._get_paced_manager  # type: ignore[method-assign]
        self._request = self._proxy_env.request
        self._proxy_env.request = self._request_here  # type: ignore[method-assign]

    def download_file(self, url: str, max_length: int) -> _GeneratorContextManager[IO[Any]]:
        """Download a file, as python-tuf does, at a pace by its largest length."""
        self._answers.expect(max_length)
        return super().download_file(url, max_length)

    def _get_paced_manager(self, scheme: str | None, host: str | None) -> urllib3.PoolManager:
        manager = self._find_manager(scheme, host)
        manager.pool_classes_by_scheme = self._answers.pool_classes
        return manager

    def _request_here(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        response = self._request(method, url, redirect=False, **options)
        if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
            response.close()
            raise DownloadHTTPError("redirects are not followed", response.status)
        return response

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            while piece := response.read1(PIECE_BYTES, decode_content=False):
                yield piece
        except urllib3.exceptions.TimeoutError as error:
            raise SlowRetrievalError from error
        finally:
            # What was not read is dropped with its connection, whatever is still under way.
            response.close()
            response.release_conn()
