"""Carries a session's wishes over HTTP with urllib3: ranges, resume, and never more than asked.

A message is one GET, an artifact's chunk one GET with a single `Range`. A connection that breaks
is taken up at the byte where it broke, a bounded number of times. The body is read through a
bound, so a server that never stops costs one byte more than was asked for; and the whole answer at
a pace (`paced_answers`), so one that drips is left. Redirects are not followed: the server that
was named is the one that is asked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from manifests.connection_failures import describe_cause, refuse_unreachable
from manifests.download_pace import MINIMUM_BYTES_PER_S
from manifests.errors import AskedTooOftenError, TransportError
from manifests.rsgi import TOO_MANY_REQUESTS

if TYPE_CHECKING:
    import urllib3

    from manifests.transfer import Fetch

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_ATTEMPTS = 4
HTTP_OK = 200
HTTP_CREATED = 201
HTTP_PARTIAL_CONTENT = 206
ERROR_TEXT_MAX_BYTES = 200
_SECONDS = re.compile(r"[0-9]{1,9}")


class HttpTransport:
    """A `transfer.Transport` to one server.

    Args:
        base_url: The server's root, `http://` or `https://`.
        timeout_s: Longest wait for a connection, and for each read.
        attempts: How often a broken connection is taken up again, the first try included.
        minimum_bytes_per_s: The average of each answer, after a grace of one timeout.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        attempts: int = DEFAULT_ATTEMPTS,
        minimum_bytes_per_s: float = MINIMUM_BYTES_PER_S,
    ) -> None:
        import urllib3

        from manifests.paced_answers import PacedAnswers

        self._base_url = parse_base_url(base_url)
        self._attempts = attempts
        self._minimum_bytes_per_s = minimum_bytes_per_s
        self._answers = PacedAnswers(grace_s=timeout_s, minimum_bytes_per_s=minimum_bytes_per_s)
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s), retries=False
        )
        self._pool.pool_classes_by_scheme = self._answers.pool_classes

    def fetch(self, fetch: Fetch) -> bytes:
        """Return at most `fetch.max_bytes` bytes.

        Raises:
            AskedTooOftenError: The server says after how long it may be asked again.
            TransportError: No connection, a refusal by the server, or more bytes than asked for.
        """
        import urllib3

        from manifests.paced_answers import is_slow

        received = bytearray()
        failure: Exception | None = None
        for _ in range(self._attempts if fetch.body is None else 1):
            try:
                self._receive(fetch, received)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if is_slow(error):
                    raise self._too_slow(fetch, received) from error
                failure = error
                continue
            return bytes(received)
        assert failure is not None, "at least one attempt was made"
        if not received:
            refuse_unreachable(failure, self._base_url)
        raise TransportError(
            "the server broke off",
            expected=f"{fetch.path} from {self._base_url}",
            got=f"{describe_cause(failure)} after {len(received)} bytes",
            where=self._url(fetch),
            hint="check that `ampforge serve` runs there and that the network lets it through",
        ) from failure

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _receive(self, fetch: Fetch, received: bytearray) -> None:
        start_bytes = fetch.offset_bytes + len(received)
        end_bytes = fetch.offset_bytes + fetch.max_bytes
        ranged = fetch.is_part or len(received) > 0
        headers = {"Accept-Encoding": "identity"}
        if ranged:
            # One byte more would not help: a part that is longer than asked is refused below.
            headers["Range"] = f"bytes={start_bytes}-{end_bytes - 1}"
        elif fetch.body is not None:
            headers["Content-Type"] = "application/cbor"
        self._answers.expect(fetch.max_bytes)
        response = self._pool.request(
            "GET" if fetch.body is None else "POST",
            self._url(fetch),
            headers=headers,
            body=fetch.body,
            preload_content=False,
            decode_content=False,
            redirect=False,
        )
        try:
            self._refuse_status(fetch, response, start_bytes=start_bytes if ranged else None)
            self._read_body(fetch, response, received)
        finally:
            # What was not read is dropped with its connection, whatever is still under way.
            response.close()
            response.release_conn()

    def _read_body(
        self, fetch: Fetch, response: urllib3.BaseHTTPResponse, received: bytearray
    ) -> None:
        while len(received) <= fetch.max_bytes:
            piece = response.read1(fetch.max_bytes + 1 - len(received))
            if not piece:
                return
            received += piece
        raise TransportError(
            "the server sends more than was asked for",
            expected=f"at most {fetch.max_bytes} bytes",
            got="more",
            where=self._url(fetch),
            hint="nothing of it was used; the server is broken or hostile",
        )

    def _refuse_status(
        self, fetch: Fetch, response: urllib3.BaseHTTPResponse, *, start_bytes: int | None
    ) -> None:
        if start_bytes is not None:
            content_range = response.headers.get("Content-Range", "")
            if response.status == HTTP_PARTIAL_CONTENT and content_range.startswith(
                f"bytes {start_bytes}-"
            ):
                return
            if response.status in {HTTP_OK, HTTP_PARTIAL_CONTENT}:
                raise TransportError(
                    "the server does not send the part that was asked for",
                    expected=f"206 with bytes from {start_bytes}",
                    got=f"{response.status} with {content_range or 'no Content-Range'}",
                    where=self._url(fetch),
                    hint="serve the repository from something that honours Range",
                )
        elif response.status in {HTTP_OK, HTTP_CREATED}:
            return
        text = response.read(ERROR_TEXT_MAX_BYTES).decode("utf-8", "replace")
        retry_after = response.headers.get("Retry-After", "")
        if response.status == TOO_MANY_REQUESTS and _SECONDS.fullmatch(retry_after):
            raise AskedTooOftenError(
                "the server is asked too often",
                got=f"{response.status} {' '.join(text.split())}".rstrip(),
                where=self._url(fetch),
                hint=f"ask again after {int(retry_after)} s",
                wait_s=int(retry_after),
            )
        raise TransportError(
            "the server refuses the request",
            expected="200" if start_bytes is None else "206",
            got=f"{response.status} {' '.join(text.split())}".rstrip(),
            where=self._url(fetch),
            hint="check the URL, and that the release was published",
        )

    def _too_slow(self, fetch: Fetch, received: bytearray) -> TransportError:
        return TransportError(
            "the server sends too slowly to go on with",
            expected=f"{self._minimum_bytes_per_s:g} bytes a second",
            got=f"{len(received)} bytes in more time than that",
            where=self._url(fetch),
            hint="try again over another network or server",
        )

    def _url(self, fetch: Fetch) -> str:
        return f"{self._base_url}/{fetch.path}"


def parse_base_url(url: str) -> str:
    """Return a server's root without a trailing slash.

    Raises:
        TransportError: It is not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise TransportError(
            "the server's URL cannot be used",
            expected="http://HOST[:PORT] or https://HOST[:PORT]",
            got=url,
        )
    return url.rstrip("/")
