"""An update session whose wishes a gateway carries: one question out, one answer in.

A board without a network of its own asks its peer, which it does not trust, for the same bytes.
`RelayedUpdate` turns the session's generator into the question-and-answer form of the link's
update message (docs/spec/serial-link.md), and ends in words instead of an exception, because that
is what the link can carry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.errors import TransportError
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.transfer import Fetch, Session
    from manifests.update_outcome import UpdateOutcome

RESULT_MAX_LENGTH = 256
REFUSED_PREFIX = "refused: "
COULD_NOT_GET = "the gateway could not get what was asked for"


class RelayedUpdate:
    """One session at a time, started and answered by a gateway.

    Args:
        start_session: Makes a new session.
        on_end: Called with the outcome of a session that was not refused, before the gateway
            hears of it; the board reboots from here when the outcome asks for it.
    """

    def __init__(
        self,
        start_session: Callable[[], Session[UpdateOutcome]],
        *,
        on_end: Callable[[UpdateOutcome], None] | None = None,
    ) -> None:
        self._start_session = start_session
        self._on_end = on_end
        self._session: Session[UpdateOutcome] | None = None

    def answer(self, data: bytes | None) -> dict[str, object]:
        """Take what was asked for last, and return what the session asks for next.

        Args:
            data: `None` starts a session anew; empty bytes say that the peer could not get it.

        Returns:
            `path`, `off`, `len` and perhaps `post`; or `done` and `result`.
        """
        try:
            if data is None:
                self._session = self._start_session()
                return _question(next(self._session))
            if self._session is None:
                return _ended(f"{REFUSED_PREFIX}no update session was started")
            if not data:
                failure = TransportError(COULD_NOT_GET)
                return _question(self._session.throw(failure))
            return _question(self._session.send(data))
        except StopIteration as stop:
            outcome: UpdateOutcome = stop.value
            self._session = None
            if self._on_end is not None:
                self._on_end(outcome)
            return _ended(f"{outcome.result}: {outcome.message}")
        except Refusal as error:
            self._session = None
            return _ended(f"{REFUSED_PREFIX}{error}")


def _question(fetch: Fetch) -> dict[str, object]:
    question: dict[str, object] = {
        "path": fetch.path,
        "off": fetch.offset_bytes,
        "len": fetch.max_bytes,
    }
    if fetch.body is not None:
        question["post"] = fetch.body
    return question


def _ended(result: str) -> dict[str, object]:
    return {"done": True, "result": result[:RESULT_MAX_LENGTH]}
