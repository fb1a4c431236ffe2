"""The SMP server of the simulated firmware: frames in, frames out; what they mean is asked.

It decodes a message strictly (types as declared, no unknown key) and hands it to the handler
registered for its group, command and operation. Nothing that arrives can stop it: it answers with
an error, or, for a damaged frame, not at all (docs/spec/serial-link.md §2, §3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cbor2
from pydantic import ValidationError
from smp.error import MGMT_ERR
from smp.header import OP

from provisioning.errors import SimulatorError
from provisioning.link_frames import Frame, LineAssembler, serialize_frame
from provisioning.link_messages import BOARD_BUFFER_BYTES, BOARD_GROUP_ID, BoardErrorCode
from signing.canonical_cbor import serialize_cbor
from signing.refusal import Refusal
from signing.validation_words import describe_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smp.message import Request, Response

_HEADER: Final = struct.Struct("!BBHHBB")
_OP_MASK: Final = 0b111
_VERSION_SHIFT: Final = 3
_VERSION_MASK: Final = 0b11
_FRAMEWORK_FIELDS: Final = frozenset({"header", "version", "sequence", "smp_data"})
assert _HEADER.size == 8  # noqa: PLR2004 - SMP's header


class BoardRefusalError(SimulatorError):
    """Raised by a handler to answer with an error of group 64."""

    def __init__(self, code: BoardErrorCode, reason: object) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """How one request is served.

    Attributes:
        request_class: The message class that the map must satisfy.
        serve: From the request to its answer.
    """

    request_class: type[Request]
    serve: Callable[[Any], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    operation: int
    version: int
    group: int
    sequence: int
    command: int


class SmpServer:
    """Serves one UART.

    Args:
        handlers: By group, command and operation (read or write).
        log: Takes one line of text for the UART, without line end.
    """

    def __init__(
        self,
        handlers: Mapping[tuple[int, int, OP], Handler],
        *,
        log: Callable[[str], None],
    ) -> None:
        self._handlers = dict(handlers)
        self._log = log
        self._lines = LineAssembler(max_message_bytes=BOARD_BUFFER_BYTES)

    def receive(self, untrusted_bytes: bytes) -> bytes:
        """Take bytes from the UART; return the answers to the requests that they completed."""
        answers = []
        for item in self._lines.feed(untrusted_bytes):
            if isinstance(item, Frame):
                answer = self._serve(item.message_bytes)
                if answer is not None:
                    answers.append(serialize_frame(answer))
        return b"".join(answers)

    def _serve(self, message_bytes: bytes) -> bytes | None:
        if len(message_bytes) < _HEADER.size:
            return None
        first, _flags, body_bytes, group, sequence, command = _HEADER.unpack_from(message_bytes)
        header = _Header(
            operation=first & _OP_MASK,
            version=first >> _VERSION_SHIFT & _VERSION_MASK,
            group=group,
            sequence=sequence,
            command=command,
        )
        body = message_bytes[_HEADER.size :]
        if header.operation not in {OP.READ, OP.WRITE} or len(body) != body_bytes:
            return None
        handler = self._handlers.get((group, command, OP(header.operation)))
        if handler is None:
            return _answer(header, {"rc": int(MGMT_ERR.ENOTSUP)})
        fields = _parse_map(body)
        if fields is None:
            return _answer(header, {"rc": int(MGMT_ERR.ECORRUPT)})
        return self._serve_fields(header, handler, fields)

    def _serve_fields(self, header: _Header, handler: Handler, fields: dict[str, object]) -> bytes:
        if _FRAMEWORK_FIELDS & set(fields):
            return self._refuse(header, BoardErrorCode.BAD_VALUE, "unknown key")
        try:
            request = handler.request_class.model_validate(fields, strict=True)
            response = handler.serve(request)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            reason = f"{'.'.join(str(part) for part in first['loc'])} {describe_problem(first)}"
            return self._refuse(header, BoardErrorCode.BAD_VALUE, reason)
        except BoardRefusalError as error:
            return self._refuse(header, error.code, error)
        except Refusal as error:
            return self._refuse(header, BoardErrorCode.BAD_STATE, error)
        return _answer(header, response.BYTES[_HEADER.size :])

    def _refuse(self, header: _Header, code: BoardErrorCode, reason: object) -> bytes:
        self._log(f"E {reason}")
        if header.group != BOARD_GROUP_ID:
            return _answer(header, {"rc": int(MGMT_ERR.EINVAL)})
        return _answer(header, {"err": {"group": BOARD_GROUP_ID, "rc": int(code)}})


def _parse_map(untrusted_bytes: bytes) -> dict[str, object] | None:
    try:
        value = cbor2.loads(untrusted_bytes)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError, TypeError):
        return None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return None
    return value


def _answer(header: _Header, body: bytes | dict[str, object]) -> bytes:
    if isinstance(body, dict):
        body = serialize_cbor(body)
    return (
        _HEADER.pack(
            header.operation + 1 | header.version << _VERSION_SHIFT,
            0,
            len(body),
            header.group,
            header.sequence,
            header.command,
        )
        + body
    )
