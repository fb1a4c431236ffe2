"""A gateway between server and board: what the board asks for, verified, over its serial link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.errors import TransportError, UpdateRefusedError
from manifests.relay import COULD_NOT_GET, REFUSED_PREFIX
from manifests.transfer import Fetch
from manifests.update_outcome import UpdateResult
from provisioning.errors import LinkAnswerError
from provisioning.link_release import UpdateWriteRequest, UpdateWriteResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from manifests.transfer import Transport
    from provisioning.device_link import DeviceLink

SESSIONS_MAX = 3
ANSWER_TIMEOUT_S = 10.0
"""A board may hash a whole slot before it answers."""
READY_TIMEOUT_S = 8.0
RESULT_MAX_LENGTH = 256


def relay_update(
    link: DeviceLink, source: Transport, *, on_fetch: Callable[[Fetch], None] = lambda _: None
) -> dict[str, object]:
    """Serve a board until its update is settled, over its reboots.

    Args:
        link: The board's application.
        source: Where bytes come from.
        on_fetch: Called before each wish of the board is carried out.

    Returns:
        The outcome as a document, with the versions before and after as the board states them.

    Raises:
        UpdateRefusedError: The board refused.
        ProvisioningError: The link died.
    """
    before = link.read_info().ver
    result = ""
    for _ in range(SESSIONS_MAX):
        result = _relay_session(link, source, on_fetch)
        if not result.startswith(UpdateResult.REBOOT_NEEDED):
            break
        link.wait_until_ready(timeout_s=READY_TIMEOUT_S)
    if result.startswith(REFUSED_PREFIX):
        raise UpdateRefusedError(
            "the board refused the update",
            got=result.removeprefix(REFUSED_PREFIX),
            where=link.where,
            hint="it keeps what it runs; `ampforge repo verify` finds what is published wrong",
        )
    word, _, message = result.partition(": ")
    return {
        "schema": "ampforge.device-update/1",
        "result": word,
        "message": message,
        "version_before": before,
        "version_after": link.read_info().ver,
    }


def _relay_session(link: DeviceLink, source: Transport, on_fetch: Callable[[Fetch], None]) -> str:
    failure: TransportError | None = None
    answer = _ask(link, start=True)
    while not answer.done:
        if answer.path is None or answer.len is None:
            raise LinkAnswerError(
                "the board asks for nothing",
                expected="path and len",
                where=link.where,
                hint="its firmware speaks another group 64 than docs/spec/serial-link.md",
            )
        fetch = Fetch(
            path=answer.path,
            offset_bytes=answer.off or 0,
            max_bytes=answer.len,
            is_part=answer.post is None,
            body=answer.post,
        )
        on_fetch(fetch)
        try:
            failure, data = None, source.fetch(fetch)
        except TransportError as error:
            # The board decides: it lives without a trust record that follows its own, keeps a
            # report for later, and does not install without a nonce.
            failure, data = error, b""
        answer = _ask(link, data=data, off=fetch.offset_bytes)
    result = (answer.result or "")[:RESULT_MAX_LENGTH]
    # What the board refused may be another thing than what was missing last: most boards are asked
    # for no trust record that follows, and then judge the assignment.
    if failure is not None and result.startswith(f"{REFUSED_PREFIX}{COULD_NOT_GET}"):
        raise failure
    return result


def _ask(link: DeviceLink, **fields: object) -> UpdateWriteResponse:
    # Not repeated: the same bytes twice would be the answer to the next question.
    return link.request(
        UpdateWriteRequest, UpdateWriteResponse, attempts=1, timeout_s=ANSWER_TIMEOUT_S, **fields
    )
