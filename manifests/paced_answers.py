"""HTTP answers that keep a pace from their first byte on: headers, trailers and errors included.

urllib3 bounds each wait, and nothing bounds how many there are: a server that sends a byte before
each timeout, in a header or in the text of an error, holds a reader for days (TUF 1.0.34 §1.5.2,
slow retrieval), and one that sends `100 Continue` for ever does so at full speed. So the pace is
kept where bytes come from the socket (`download_pace`), and no more bytes buy time than the answer
that was asked for can have.
"""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from manifests.connection_failures import causes_of
from manifests.download_pace import MINIMUM_BYTES_PER_S, DownloadPace

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

HEAD_BYTES: Final = 4096
"""What headers of an answer may have, as far as they buy time."""


class SlowAnswerError(TimeoutError):
    """Raised when an answer takes longer than its bytes may."""


class PacedAnswers:
    """Makes urllib3's connections keep to a pace.

    One request at a time: what is expected is that of the next answer.

    Args:
        grace_s: What an answer may take whatever comes.
        minimum_bytes_per_s: The average that is asked for beyond that.
    """

    def __init__(self, *, grace_s: float, minimum_bytes_per_s: float = MINIMUM_BYTES_PER_S) -> None:
        self._grace_s = grace_s
        self._minimum_bytes_per_s = minimum_bytes_per_s
        self._bytes_max = HEAD_BYTES
        self.pool_classes = _make_pool_classes(self)

    def expect(self, content_bytes_max: int) -> None:
        """Set how large the content of the next answer may be."""
        # Twice, for what chunks add to it.
        self._bytes_max = HEAD_BYTES + 2 * content_bytes_max

    def wrap(self, answer: io.BufferedReader) -> io.BufferedReader:
        """Return the bytes of an answer, at a pace that counts from the first of them on."""
        return io.BufferedReader(_PacedBytes(answer.detach(), self._begin, self._bytes_max))

    def _begin(self) -> DownloadPace:
        return DownloadPace(grace_s=self._grace_s, minimum_bytes_per_s=self._minimum_bytes_per_s)


def is_slow(error: BaseException) -> bool:
    """Whether an error of urllib3 comes from an answer that did not keep its pace."""
    return any(isinstance(cause, SlowAnswerError) for cause in causes_of(error))


class _PacedBytes(io.RawIOBase):
    def __init__(
        self, raw: io.RawIOBase, begin: Callable[[], DownloadPace], bytes_max: int
    ) -> None:
        self._raw = raw
        self._begin = begin
        self._pace: DownloadPace | None = None
        self._bytes_max = bytes_max
        self._received_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        self._received_bytes += count or 0
        if self._pace is None:
            self._pace = self._begin()
        elif self._pace.is_too_slow(min(self._received_bytes, self._bytes_max)):
            raise SlowAnswerError("the answer comes too slowly")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _make_pool_classes(answers: PacedAnswers) -> dict[str, type]:
    class Answer(http.client.HTTPResponse):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.fp = answers.wrap(self.fp)

    class Connection(HTTPConnection):
        response_class = Answer

    class SecureConnection(HTTPSConnection):
        response_class = Answer

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection  # pyright: ignore[reportAssignmentType]  # as urllib3's own

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = SecureConnection  # pyright: ignore[reportAssignmentType]  # as urllib3's own

    return {"http": Pool, "https": SecurePool}
