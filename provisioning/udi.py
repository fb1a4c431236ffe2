"""Unique device identification of one unit, as GS1 application identifiers.

| AI | content | length | source |
|---|---|---|---|
| (01) | GTIN-14 with check digit | 14 digits | `[product] gtin` |
| (11) | production date, YYMMDD | 6 digits | day of the first PASS, UTC |
| (10) | lot | 1 to 20, may be absent | `[station] lot` or `station run --lot` |
| (21) | serial number | 1 to 20 | the ledger |

Two forms: the text for people, with each AI in parentheses, and the element string for machines,
where FNC1 ends a field of variable length that is not the last; in data it is the character GS
(0x1D). Implements docs/spec/udi-and-labels.md §1 and §2. How it is printed is `labels`' business.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final

from firmware_images.product import GTIN_DIGITS, gtin_check_digit
from provisioning.errors import UdiError
from signing.value_class import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUP_SEPARATOR: Final = "\x1d"
SYMBOLOGY_IDENTIFIER: Final = "]d2"
"""What a scanner puts before the data of a GS1 DataMatrix (ISO/IEC 15424)."""
ELEMENT_STRING_MAX_LENGTH: Final = 100
# GS1's set of 82 characters (General Specifications §7.11) without the parentheses, which mark the
# AIs in the text for people.
_VALUE: Final = re.compile(r"[!\"%&'*+,\-./0-9:;<=>?A-Z_a-z]{1,20}", re.ASCII)
_CENTURY: Final = 2000
_FIXED: Final = {"01": GTIN_DIGITS, "11": 6}
_ORDER: Final = ("01", "11", "10", "21")
_NAMES: Final = {"01": "GTIN", "11": "production date", "10": "lot", "21": "serial number"}
_HUMAN: Final = re.compile(r"\(([0-9]{2})\)([^()]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Udi:
    """The identification of one unit.

    Attributes:
        gtin: Device identifier, 14 digits.
        production_date: Day on which the unit passed for the first time, UTC, 2000 to 2099.
        lot: Lot, or `None`.
        serial: Serial number.
    """

    gtin: str
    production_date: dt.date
    lot: str | None
    serial: str

    def __post_init__(self) -> None:
        require_gtin(self.gtin)
        if not _CENTURY <= self.production_date.year < _CENTURY + 100:
            raise UdiError(
                "the production date cannot be written in six digits",
                expected="a day of the years 2000 to 2099", got=self.production_date.isoformat(),
            )  # fmt: skip
        if self.lot is not None:
            require_lot(self.lot)
        if _VALUE.fullmatch(self.serial) is None:
            raise _unwritable("serial number", self.serial)

    def fields(self) -> tuple[tuple[str, str], ...]:
        """Return the fields in the order in which they are written: AI and value."""
        lot = () if self.lot is None else (("10", self.lot),)
        date = f"{self.production_date:%y%m%d}"
        return (("01", self.gtin), ("11", date), *lot, ("21", self.serial))

    @property
    def human_readable(self) -> str:
        """The text for people: each AI in parentheses (General Specifications §4.14)."""
        return "".join(f"({ai}){value}" for ai, value in self.fields())

    @property
    def element_string(self) -> str:
        """The data of the symbol (General Specifications §7.8), without its leading FNC1."""
        fields = self.fields()
        ends = ["" if ai in _FIXED else GROUP_SEPARATOR for ai, _ in fields[:-1]] + [""]
        return "".join(ai + value + end for (ai, value), end in zip(fields, ends, strict=True))

    def document(self) -> dict[str, object]:
        """Return it as JSON values: what the ledger keeps, and what documents show."""
        return {
            "gtin": self.gtin,
            "production_date": self.production_date.isoformat(),
            "lot": self.lot,
            "serial": self.serial,
            "human_readable": self.human_readable,
            "element_string": self.element_string,
        }


def require_gtin(gtin: str) -> str:
    """Return a GTIN-14, or refuse it.

    Raises:
        UdiError: It is not 14 digits, or its check digit is wrong.
    """
    if re.fullmatch(rf"[0-9]{{{GTIN_DIGITS}}}", gtin, re.ASCII) is None:
        raise UdiError(
            "this is not a GTIN-14", expected="14 digits", got=repr(gtin[:40]),
            hint="a shorter GTIN gets zeros in front",
        )  # fmt: skip
    if gtin_check_digit(gtin[:-1]) != int(gtin[-1]):
        raise UdiError(
            "the check digit of the GTIN is wrong",
            expected=gtin_check_digit(gtin[:-1]), got=gtin[-1], where=gtin,
        )  # fmt: skip
    return gtin


def require_lot(lot: str) -> str:
    """Return a lot, or refuse it.

    Raises:
        UdiError: It has no place in AI (10).
    """
    if _VALUE.fullmatch(lot) is None:
        raise _unwritable("lot", lot)
    return lot


def parse_udi_document(data: object, *, where: str) -> Udi:
    """Return what the ledger keeps about the identification of a unit.

    Args:
        data: What `Udi.document` wrote.
        where: What to name in an error.

    Raises:
        UdiError: It is something else, or contradicts itself.
    """
    if isinstance(data, dict):
        gtin, date, lot, serial = (
            data.get(name) for name in ("gtin", "production_date", "lot", "serial")
        )
        if (
            isinstance(gtin, str)
            and isinstance(date, str)
            and isinstance(lot, str | None)
            and isinstance(serial, str)
        ):
            try:
                day = dt.date.fromisoformat(date)
            except ValueError:
                day = dt.date.min
            udi = Udi(gtin=gtin, production_date=day, lot=lot, serial=serial)
            if udi.document() == data:
                return udi
    raise UdiError(
        "the identification of the unit cannot be read", where=where,
        hint="the record was changed outside Ampforge; compare it with a backup",
    )  # fmt: skip


def parse_udi(untrusted_text: str) -> Udi:
    """Return what a scanner read from a label, or what a person copied from it.

    Args:
        untrusted_text: An element string, with or without `]d2` before it, or the text with
            parentheses.

    Raises:
        UdiError: It is neither, or a field is missing, doubled, unknown or wrong.
    """
    text = untrusted_text.removeprefix(SYMBOLOGY_IDENTIFIER)
    if len(text) > ELEMENT_STRING_MAX_LENGTH:
        raise _not_ours("at most 100 characters", f"{len(text)}")
    fields = _split_human(text) if text.startswith("(") else _split_element_string(text)
    if missing := [_NAMES[ai] for ai in ("01", "11", "21") if ai not in fields]:
        raise _not_ours(f"a {missing[0]}", "none")
    if list(fields) != [ai for ai in _ORDER if ai in fields]:
        raise _not_ours("the fields (01), (11), (10), (21) in this order", "another order")
    date = fields["11"]
    try:
        day = dt.date(_CENTURY + int(date[:2]), int(date[2:4]), int(date[4:]))
    except ValueError as error:
        raise _not_ours("a day as YYMMDD", repr(date)) from error
    return Udi(gtin=fields["01"], production_date=day, lot=fields.get("10"), serial=fields["21"])


def is_scanned(text: str) -> bool:
    """Whether a text looks like the content of a label, and not like a serial number."""
    return text.startswith((SYMBOLOGY_IDENTIFIER, "(01)")) or GROUP_SEPARATOR in text


def _split_human(text: str) -> Mapping[str, str]:
    found = _HUMAN.findall(text)
    if "".join(f"({ai}){value}" for ai, value in found) != text:
        raise _not_ours("fields such as (01)09506000134352", repr(text))
    fields: dict[str, str] = {}
    for ai, value in found:
        _add(fields, ai, value)
    return fields


def _split_element_string(text: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    rest = text
    while rest:
        ai, rest = rest[:2], rest[2:]
        length = _FIXED.get(ai)
        if length is not None:
            value, rest = rest[:length], rest[length:]
        else:
            value, separator, rest = rest.partition(GROUP_SEPARATOR)
            if separator and not rest:
                raise _not_ours("no FNC1 after the last field", "one")
        _add(fields, ai, value)
    return fields


def _add(fields: dict[str, str], ai: str, value: str) -> None:
    if ai not in _NAMES or ai in fields:
        raise _not_ours("each of (01), (11), (10), (21) at most once", f"AI {ai!a}")
    if ai in _FIXED and re.fullmatch(rf"[0-9]{{{_FIXED[ai]}}}", value, re.ASCII) is None:
        raise _not_ours(f"{_FIXED[ai]} digits after ({ai})", repr(value))
    fields[ai] = value


def _not_ours(expected: str, got: str) -> UdiError:
    return UdiError("this is not the UDI of one of our units", expected=expected, got=got)


def _unwritable(what: str, value: str) -> UdiError:
    return UdiError(
        f"the {what} cannot be written in a UDI",
        expected="1 to 20 characters of A-Z a-z 0-9 ! \" % & ' * + , - . / : ; < = > ? _",
        got=repr(value[:40]),
    )
