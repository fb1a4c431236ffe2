"""Which unit a person means: a serial number, a MAC, or what a scanner read from the label."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cli.failures import UsageRefusal

if TYPE_CHECKING:
    from typing import Any

    from provisioning.ledger_reader import LedgerReader

MAC_PATTERN = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")


def find_serial(ledger: LedgerReader[Any], typed: str) -> str:
    """Return the serial number of the unit that a person named; it need not be in the ledger.

    Raises:
        SerialNumberError: It is no serial number of this ledger's format.
        UdiError: It looks like a label's content and is none of ours.
        LedgerError: No unit has such a MAC.
    """
    from provisioning.ledger_modules import list_replaced
    from provisioning.ledger_units import find_unit
    from provisioning.serial_numbers import normalise_typed_serial, parse_serial
    from provisioning.udi import is_scanned, parse_udi

    if MAC_PATTERN.fullmatch(typed):
        mac = parse_mac(typed)
        # A module that was replaced leads to its unit, which explains what became of both.
        for module in list_replaced(ledger.database, mac=mac):
            return module.serial
        return find_unit(ledger.database, mac=mac).serial
    named = parse_udi(typed).serial if is_scanned(typed) else normalise_typed_serial(typed)
    return str(parse_serial(named, ledger.identity.serial_format))


def find_mac(ledger: LedgerReader[Any], typed: str) -> bytes:
    """Return the MAC of the board that a person named; a MAC need not be in the ledger."""
    from provisioning.ledger_units import find_unit

    if MAC_PATTERN.fullmatch(typed):
        return parse_mac(typed)
    return find_unit(ledger.database, serial=find_serial(ledger, typed)).mac


def parse_mac(typed: str) -> bytes:
    """Return the six bytes of a MAC.

    Raises:
        UsageRefusal: It is none.
    """
    if MAC_PATTERN.fullmatch(typed) is None:
        raise UsageRefusal(
            "this is not a MAC",
            expected="six bytes, such as 7c:df:a1:00:00:02",
            got=typed[:80],
            hint="`ampforge serials status` lists the chips that the ledger knows",
        )
    return bytes.fromhex(typed.replace("-", "").replace(":", ""))
