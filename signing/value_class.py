"""`dataclass` for frozen, slotted, keyword-only values, made in a quarter of the time.

The standard library's compiles six methods for each class, one after the other; a short command
that imports sixty such classes spends an eighth of its time on that. But for the names of fields,
five of the six are the same for every class, so here they are not compiled again. What comes out is
a dataclass still: `fields`, `replace` and `asdict` know it, and type checkers see the decorator of
the standard library, to which any other form of dataclass goes (docs/decisions/0084).
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - says that it is meant for others
else:

    def dataclass(cls=None, /, **options):  # noqa: ANN001, ANN003, ANN201 - checkers see the other one
        """As `dataclasses.dataclass`."""
        if cls is None and options == {"frozen": True, "slots": True, "kw_only": True}:
            return _make_value_class
        return dataclasses.dataclass(cls, **options)


_FACTORY = object()
_set = object.__setattr__


def _make_value_class(cls: type) -> Any:
    own = {name for name, value in vars(cls).items() if value is not None}
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(
        cls
    )
    fields = dataclasses.fields(made)
    methods = {
        "__init__": _compile_init(made, fields),
        "__repr__": _represent(tuple(field.name for field in fields if field.repr)),
        **_compare(tuple(field.name for field in fields if field.compare)),
        **_copy(tuple(field.name for field in fields)),
        "__setattr__": _refuse_setting,
        "__delattr__": _refuse_deleting,
    }
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made


def _compile_init(made: Any, fields: tuple[dataclasses.Field[Any], ...]) -> Any:
    scope: dict[str, Any] = {"_set": _set, "_factory": _FACTORY}
    parameters, lines = [], []
    for field in fields:
        name = given = field.name
        parameter = name
        if field.default_factory is not dataclasses.MISSING:
            scope[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_factory"
            given = f"_make_{name}() if {name} is _factory else {name}"
        elif field.default is not dataclasses.MISSING:
            scope[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        parameters.append(parameter)
        lines.append(f" _set(self, {name!r}, {given})\n")
    if hasattr(made, "__post_init__"):
        lines.append(" self.__post_init__()\n")
    named = f", *, {', '.join(parameters)}" if parameters else ""
    # The text has nothing but the names of fields in it, which are identifiers of our own.
    exec(f"def __init__(self{named}):\n{''.join(lines) or ' pass'}", scope)  # noqa: S102
    init: Any = scope["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    init.__module__ = made.__module__
    return init


def _represent(names: tuple[str, ...]) -> Any:
    def __repr__(self: Any) -> str:  # noqa: N807
        parts = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({parts})"

    return __repr__


def _compare(names: tuple[str, ...]) -> dict[str, Any]:
    values: Any = attrgetter(*names) if names else type

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _copy(names: tuple[str, ...]) -> dict[str, Any]:
    def __getstate__(self: Any) -> list[Any]:  # noqa: N807
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:  # noqa: N807
        for name, value in zip(names, state, strict=True):
            _set(self, name, value)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__}


def _refuse_setting(self: Any, name: str, value: object) -> None:
    del self, value
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> None:
    del self
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
