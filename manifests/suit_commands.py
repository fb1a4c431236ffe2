"""Command sequences of a SUIT manifest: conditions and directives, with what each is given.

A sequence is a flat CBOR array of code and argument in turn (draft-ietf-suit-manifest-37 §8.4, and
-suit-update-management-16 for codes 4 and 25 to 29). What is read is what the two drafts define and
no more: a command that is not known here is refused, as a device that does not know it would.
Nothing is executed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from manifests.errors import SuitError
from manifests.suit_parameters import (
    CLASS_ID,
    USE_BEFORE,
    VENDOR_ID,
    VERSION,
    Parameter,
    is_integer,
    parameter_to_cbor,
    read_parameter,
)
from signing.canonical_cbor import parse_cbor, serialize_cbor
from signing.errors import CborError

if TYPE_CHECKING:
    from collections.abc import Mapping

SET_COMPONENT_INDEX, TRY_EACH, OVERRIDE_PARAMETERS, RUN_SEQUENCE = 12, 15, 20, 32
IMAGE_MATCH, FETCH, INVOKE = 3, 21, 23

CONDITIONS: Final[Mapping[int, str]] = {
    VENDOR_ID: "condition-vendor-identifier",
    CLASS_ID: "condition-class-identifier",
    IMAGE_MATCH: "condition-image-match",
    USE_BEFORE: "condition-use-before",
    5: "condition-component-slot",
    6: "condition-check-content",
    14: "condition-abort",
    24: "condition-device-identifier",
    25: "condition-image-not-match",
    26: "condition-minimum-battery",
    27: "condition-update-authorized",
    VERSION: "condition-version",
}
CONTROL_DIRECTIVES: Final[Mapping[int, str]] = {
    SET_COMPONENT_INDEX: "directive-set-component-index",
    TRY_EACH: "directive-try-each",
    OVERRIDE_PARAMETERS: "directive-override-parameters",
    RUN_SEQUENCE: "directive-run-sequence",
}
COMMAND_NAMES: Final[Mapping[int, str]] = {
    **CONDITIONS,
    **CONTROL_DIRECTIVES,
    # These, too, are given a reporting policy.
    18: "directive-write",
    FETCH: "directive-fetch",
    22: "directive-copy",
    INVOKE: "directive-invoke",
    29: "directive-wait",
    31: "directive-swap",
}
_SHARED: Final = CONDITIONS.keys() | CONTROL_DIRECTIVES.keys()
_POLICY_MAX, _COMMANDS_MAX, _NESTING_MAX = 15, 128, 3
_BRANCHES_MIN, _BRANCHES_MAX = 2, 32
SEQUENCE_MAX_BYTES: Final = 16_384

Sequence = tuple["Command", ...]
Argument = (
    int | bool | tuple[int, ...] | tuple[Sequence | None, ...] | Sequence | dict[int, Parameter]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        code: Its number.
        argument: A reporting policy; for 12 a component's index, `True` for all, or several; for 15
            branches, the last perhaps `None`; for 20 parameters; for 32 a sequence.
    """

    code: int
    argument: Argument


def serialize_sequence(sequence: Sequence) -> bytes:
    """Return a sequence as it is wrapped in a byte string."""
    items: list[object] = []
    for command in sequence:
        items += (command.code, _argument_to_cbor(command))
    return serialize_cbor(items)


def parse_sequence(
    untrusted_bytes: bytes, *, component_count: int, where: str, is_shared: bool = False
) -> Sequence:
    """Return a sequence.

    Args:
        untrusted_bytes: What the byte string wraps.
        component_count: How many components the manifest has.
        where: Of what, for errors.
        is_shared: Whether it is the shared sequence, in which nothing is fetched or invoked.

    Raises:
        SuitError: It has a command or parameter that is not known, or of another shape.
    """
    reader = _SequenceReader(component_count=component_count, where=where, is_shared=is_shared)
    return reader.read(untrusted_bytes)


def _argument_to_cbor(command: Command) -> object:
    match command.code, command.argument:
        case (15, tuple(branches)):
            return [
                None if branch is None else serialize_sequence(branch)  # type: ignore[arg-type]
                for branch in branches
            ]
        case (32, tuple(sequence)):
            return serialize_sequence(sequence)  # type: ignore[arg-type]
        case (20, dict(parameters)):
            return {key: parameter_to_cbor(value) for key, value in parameters.items()}
        case (_, tuple(indices)):
            return list(indices)
        case (_, argument):
            return argument


@dataclass(frozen=True, slots=True, kw_only=True)
class _SequenceReader:
    component_count: int
    where: str
    is_shared: bool
    depth: int = 0

    def read(self, untrusted_bytes: object) -> Sequence:
        if not isinstance(untrusted_bytes, bytes):
            raise self._refused("it is not wrapped", "a byte string", untrusted_bytes)
        if self.depth > _NESTING_MAX:
            raise self._refused("it is nested too deep", f"at most {_NESTING_MAX}", self.depth)
        try:
            value = parse_cbor(untrusted_bytes, max_bytes=SEQUENCE_MAX_BYTES)
        except CborError as error:
            raise self._refused("it is not deterministic CBOR", "that", str(error)) from error
        most = 2 * _COMMANDS_MAX
        if not isinstance(value, list) or len(value) % 2 or not 1 <= len(value) <= most:
            raise self._refused(
                "it has another shape", f"up to {_COMMANDS_MAX} pairs of code and argument", value
            )
        return tuple(
            self._read_command(code, argument)
            for code, argument in zip(value[::2], value[1::2], strict=True)
        )

    def _read_command(self, code: object, argument: object) -> Command:
        known = _SHARED if self.is_shared else COMMAND_NAMES.keys()
        if not isinstance(code, int) or isinstance(code, bool) or code not in known:
            kind = "a shared one" if self.is_shared else "one"
            raise self._refused(f"{kind} has no such command", "a known command", code)
        inner = replace(
            self, where=f"{self.where}, {COMMAND_NAMES[code]}"[-200:], depth=self.depth + 1
        )
        match code:
            case 12:
                read: Argument = inner.read_index(argument)
            case 15:
                read = inner.read_branches(argument)
            case 20:
                read = inner.read_parameters(argument)
            case 32:
                read = inner.read(argument)
            case _:
                read = inner.read_uint(argument, most=_POLICY_MAX)
        return Command(code=code, argument=read)

    def read_index(self, argument: object) -> int | bool | tuple[int, ...]:
        if argument is True:
            return True
        most = self.component_count - 1
        if isinstance(argument, list) and argument:
            return tuple(self.read_uint(index, most=most) for index in argument)
        return self.read_uint(argument, most=most)

    def read_branches(self, argument: object) -> tuple[Sequence | None, ...]:
        if not isinstance(argument, list) or not _BRANCHES_MIN <= len(argument) <= _BRANCHES_MAX:
            raise self._refused(
                "nothing can be chosen", f"{_BRANCHES_MIN} to {_BRANCHES_MAX} branches", argument
            )
        *branches, last = argument
        return (*map(self.read, branches), None if last is None else self.read(last))

    def read_parameters(self, argument: object) -> dict[int, Parameter]:
        if not isinstance(argument, dict) or not argument:
            raise self._refused("no parameter is set", "a map of parameters", argument)
        return {
            key: read_parameter(key, value, component_count=self.component_count, where=self.where)
            for key, value in argument.items()
        }

    def read_uint(self, value: object, *, most: int) -> int:
        if not isinstance(value, int) or not is_integer(value, 0, most):
            raise self._refused("an argument is out of range", f"0 to {most}", value)
        return value

    def _refused(self, what: str, expected: str, got: object) -> SuitError:
        return SuitError(
            f"a command sequence of a SUIT manifest is refused: {what}",
            expected=expected,
            got=got if isinstance(got, str) else repr(got)[:120],
            where=self.where,
        )
