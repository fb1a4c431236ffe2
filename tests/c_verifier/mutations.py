"""Hypothesis strategies: what becomes of bytes and of documents on their way."""

from __future__ import annotations

from hypothesis import strategies as st

_TELLING_BYTES = bytes.fromhex("00 17 18 19 1a 1b 5f 7f 80 9f a0 f4 f6 fa ff")


@st.composite
def changes(draw, content: bytes) -> bytes:
    """A few changes: a bit, a byte, a piece cut out, said twice or moved, an early end."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        span = draw(st.integers(1, 40))
        piece = bytes(changed[at : at + span])
        match draw(st.sampled_from(["bit", "byte", "cut", "twice", "move", "end", "insert"])):
            case "bit":
                changed[at : at + 1] = bytes(b ^ 1 << draw(st.integers(0, 7)) for b in piece[:1])
            case "byte":
                changed[at : at + 1] = bytes([draw(st.sampled_from(_TELLING_BYTES))])
            case "cut":
                del changed[at : at + span]
            case "twice":
                changed[at:at] = piece
            case "move":
                del changed[at : at + span]
                to = draw(st.integers(0, len(changed)))
                changed[to:to] = piece
            case "end":
                del changed[at:]
            case _:
                changed[at:at] = draw(st.binary(max_size=4))
    return bytes(changed)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64 - 1),
    st.integers(-2, 40),
    st.sampled_from([2**32 - 1, 2**32, 253_402_300_799, 253_402_300_800, 2**24, 2**24 + 1]),
    st.binary(max_size=40),
    st.binary(min_size=32, max_size=32),
    st.text(max_size=70),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=66),
)
_VALUES = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=4),
    st.dictionaries(st.integers(0, 14) | st.text(max_size=3), _SCALARS, max_size=4),
)


@st.composite
def other_documents(draw, document: object) -> object:
    """The document with one value of it replaced, left out, or one added, at any depth."""
    is_whole = draw(st.integers(0, 9)) == 0
    if isinstance(document, dict) and document and not is_whole:
        return draw(_other_maps(document))
    if isinstance(document, list) and document and not is_whole:
        return draw(_other_lists(document))
    return draw(_VALUES)


@st.composite
def _other_maps(draw, document: dict[object, object]) -> dict[object, object]:
    key = draw(st.sampled_from(list(document)))
    match draw(st.sampled_from(["replace", "descend", "descend", "remove", "add"])):
        case "replace":
            return {**document, key: draw(_VALUES)}
        case "descend":
            return {**document, key: draw(other_documents(document[key]))}
        case "remove":
            return {name: value for name, value in document.items() if name != key}
        case _:
            return {**document, draw(st.integers(-2, 20) | st.text(max_size=2)): draw(_VALUES)}


@st.composite
def _other_lists(draw, document: list[object]) -> list[object]:
    at = draw(st.integers(0, len(document) - 1))
    match draw(st.sampled_from(["replace", "descend", "remove", "twice", "swap"])):
        case "replace":
            return [*document[:at], draw(_VALUES), *document[at + 1 :]]
        case "descend":
            return [*document[:at], draw(other_documents(document[at])), *document[at + 1 :]]
        case "remove":
            return [*document[:at], *document[at + 1 :]]
        case "twice":
            return [*document[:at], document[at], *document[at:]]
        case _:
            return document[::-1]
