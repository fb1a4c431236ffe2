"""The board's end of the gateway relay: one question at a time, answered by whoever carries.

It checks what the carrier says against what was asked, and passes the rest to the updater. It knows
nothing of manifests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from provisioning.link_messages import BoardErrorCode
from provisioning.link_release import UpdateWriteRequest, UpdateWriteResponse
from provisioning.simulator.smp_server import BoardRefusalError
from signing.refusal import Refusal

if TYPE_CHECKING:
    from provisioning.simulator.update_session import UpdateSession


class UpdateRelay:
    """Serves the update command.

    Args:
        session: The board's updater, or `None` if it has none.
    """

    def __init__(self, session: UpdateSession | None) -> None:
        self._session = session
        self._asked: UpdateWriteResponse | None = None

    def serve(self, request: UpdateWriteRequest) -> UpdateWriteResponse:
        """Begin, or take an answer, and return the next question or the end.

        Raises:
            BoardRefusalError: There is no updater, or the answer is not to what was asked.
        """
        if self._session is None:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "this board has no updater")
        data: bytes | None = None
        if not request.start:
            data = self._take_data(request)
        try:
            answer = UpdateWriteResponse.model_validate(self._session.answer(data))
        except Refusal as error:
            self._asked = None
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, error) from error
        except ValidationError as error:
            self._asked = None
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "the updater is at fault") from error
        self._asked = None if answer.done else answer
        return answer

    def _take_data(self, request: UpdateWriteRequest) -> bytes:
        if self._asked is None:
            raise BoardRefusalError(BoardErrorCode.BAD_STATE, "nothing was asked for")
        if request.data is None:
            raise BoardRefusalError(BoardErrorCode.BAD_VALUE, "start or data is missing")
        asked_offset = self._asked.off or 0
        if (request.off or 0) != asked_offset:
            raise BoardRefusalError(BoardErrorCode.BAD_VALUE, f"asked for offset {asked_offset}")
        if self._asked.len is not None and len(request.data) > self._asked.len:
            raise BoardRefusalError(BoardErrorCode.BAD_VALUE, f"asked for {self._asked.len} bytes")
        return request.data
