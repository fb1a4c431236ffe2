"""Explains a serial number that somebody typed, and what it may have been when it is wrong.

A number with a check character that was misread in one place, or in which two neighbours were
swapped, one character was left out or one typed twice, can be guessed: each guess that reads as a
number is a candidate. Those that the ledger knows come first; a guess is never taken for what was
typed. Implements docs/spec/serial-number.md §4.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from provisioning.errors import SerialNumberError
from provisioning.serial_formats import CHECK_ALPHABET, STANDARD_FORMAT, SerialFormat
from provisioning.serial_numbers import SerialNumber, normalise_typed_serial, parse_serial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CANDIDATES_MAX: Final = 5
TYPED_MAX_CHARACTERS: Final = 100
_LOOK_ALIKE: Final = (
    "0ODQ", "1IL7T", "2Z", "3E8", "4A", "5S", "6G", "8B", "UV", "VY", "MN", "PR", "CG", "KX",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a wrong number may have been.

    Attributes:
        serial: A right number.
        change: How it differs from what was typed, in words.
        is_given: Whether the ledger gave it.
    """

    serial: str
    change: str
    is_given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSerial:
    """What there is to say about a typed number.

    Attributes:
        text: What was typed, without separators and in upper case.
        number: Its parts, or `None` when it is wrong.
        is_given: Whether the ledger gave it.
        error: What is wrong with it, or `None`.
        candidates: What it may have been, the likeliest first; none when it was given.
    """

    text: str
    number: SerialNumber | None
    is_given: bool
    error: SerialNumberError | None
    candidates: tuple[Candidate, ...]


def check_serial(
    typed_text: str,
    serial_format: SerialFormat = STANDARD_FORMAT,
    *,
    codes: str,
    find_given: Callable[[Iterable[str]], set[str]] = lambda _serials: set(),
) -> CheckedSerial:
    """Explain a typed number.

    Args:
        typed_text: As it was typed.
        serial_format: The ledger's.
        codes: Prefix and model that are made now; guesses that begin with them are likelier.
        find_given: Returns those of some numbers that the ledger gave.

    Raises:
        SerialNumberError: It is so long that nobody typed it.
    """
    if len(typed_text) > TYPED_MAX_CHARACTERS:
        raise SerialNumberError(
            "this is no serial number",
            expected=f"at most {TYPED_MAX_CHARACTERS} characters",
            got=f"{len(typed_text)} characters",
            hint="type or scan one number",
        )
    text = normalise_typed_serial(typed_text)
    error, number = None, None
    try:
        number = parse_serial(text, serial_format)
    except SerialNumberError as refused:
        error = refused
    is_given = number is not None and bool(find_given([text]))
    if is_given or (number is not None and serial_format.has_check):
        candidates: tuple[Candidate, ...] = ()
    else:
        candidates = _guess(text, serial_format, codes, find_given)
        if number is not None:  # without a check character everything near is a number, too
            candidates = tuple(one for one in candidates if one.is_given)
    return CheckedSerial(
        text=text, number=number, is_given=is_given, error=error, candidates=candidates
    )


def _guess(
    text: str,
    serial_format: SerialFormat,
    codes: str,
    find_given: Callable[[Iterable[str]], set[str]],
) -> tuple[Candidate, ...]:
    guesses: dict[str, tuple[int, str]] = {}
    for guess, cost, change in _near(text, serial_format.length):
        try:
            parse_serial(guess, serial_format)
        except SerialNumberError:
            continue
        if not guess.startswith(codes):
            cost += 2  # noqa: PLW2901 - the same guess, with what is known beside the text
        if guess not in guesses or cost < guesses[guess][0]:
            guesses[guess] = (cost, change)
    given = find_given(guesses)
    order = sorted(guesses, key=lambda guess: (guess not in given, guesses[guess][0], guess))
    if given:
        order = [guess for guess in order if guess in given]
    return tuple(
        Candidate(serial=guess, change=guesses[guess][1], is_given=guess in given)
        for guess in order[:CANDIDATES_MAX]
    )


def _near(text: str, length: int) -> Iterator[tuple[str, int, str]]:
    """Yield texts that one slip turns into what was typed, how unlikely, and the slip in words."""
    if len(text) == length:
        yield from _misread(text)
        yield from _swapped(text)
    elif len(text) == length - 1:
        for place in range(length):
            for other in CHECK_ALPHABET:
                # A character typed once instead of twice is the likeliest of those left out.
                is_double = other in {text[place - 1 : place], text[place : place + 1]}
                change = f"character {place + 1}, {other}, was left out"
                yield text[:place] + other + text[place:], 0 if is_double else 2, change
    elif len(text) == length + 1:
        for place, found in enumerate(text):
            is_double = found in {text[place - 1 : place], text[place + 1 : place + 2]}
            change = f"character {place + 1}, {found}, is one too many"
            yield text[:place] + text[place + 1 :], 0 if is_double else 1, change


def _misread(text: str) -> Iterator[tuple[str, int, str]]:
    for place, found in enumerate(text):
        for other in CHECK_ALPHABET:
            if other != found:
                cost = 0 if _looks_alike(found, other) else 2
                change = f"character {place + 1} is {other}, not {found}"
                yield text[:place] + other + text[place + 1 :], cost, change


def _swapped(text: str) -> Iterator[tuple[str, int, str]]:
    for place, (one, other) in enumerate(pairwise(text)):
        if one != other:
            change = f"characters {place + 1} and {place + 2} are {other}{one}, not {one}{other}"
            yield text[:place] + other + one + text[place + 2 :], 0, change


def _looks_alike(one: str, other: str) -> bool:
    return any(one in group and other in group for group in _LOOK_ALIKE)
