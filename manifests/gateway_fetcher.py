"""How the gateway's TUF client fetches: as python-tuf does, but never unpacked and never for ever.

python-tuf's own fetcher bounds each wait and each file's length. Beside that, this one bounds the
average pace (`download_pace`), and takes bytes as they come: what a server compresses on the way
is not unpacked, so a small answer cannot become a large one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import urllib3
from tuf.api.exceptions import SlowRetrievalError
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from manifests.download_pace import MINIMUM_BYTES_PER_S, DownloadPace

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._grace_s = timeout_s
        self._minimum_bytes_per_s = minimum_bytes_per_s

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        pace = DownloadPace(grace_s=self._grace_s, minimum_bytes_per_s=self._minimum_bytes_per_s)
        received_bytes = 0
        try:
            while piece := response.read1(PIECE_BYTES, decode_content=False):
                received_bytes += len(piece)
                yield piece
                if pace.is_too_slow(received_bytes):
                    raise SlowRetrievalError(f"{received_bytes} bytes took too long")
        except urllib3.exceptions.TimeoutError as error:
            raise SlowRetrievalError from error
        finally:
            # What was not read is dropped with its connection, whatever is still under way.
            response.close()
            response.release_conn()
