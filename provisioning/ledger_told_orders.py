"""Compares a supervisor's order with the event that tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.ledger_retelling import contradiction, hex_field
from provisioning.supervision import parse_act
from signing.cose_message import parse_message
from signing.refusal import Refusal

if TYPE_CHECKING:
    from provisioning.ledger_events import Event
    from provisioning.ledger_values import LedgerIdentity


def require_told_order(event: Event, identity: LedgerIdentity) -> None:
    """Refuse an event that tells a supervisor's order otherwise than the supervisor signed it.

    The signature was verified when the order was carried out: the keys that were a supervisor's
    then need not be today's.

    Args:
        event: A CONFIRM of step `supervise`, verified as part of its chain.
        identity: What the ledger says it is.

    Raises:
        LedgerError: The order is none, or says something else.
    """
    where = f"station {event.station}, event {event.number}"
    try:
        order = parse_act(parse_message(hex_field(event, "order")).payload)
    except Refusal as error:
        raise contradiction(f"{where}, order", "a signed order", error) from error
    told = {
        "ledger": identity.uuid,
        "mac": event.mac,
        "act": event.data.get("act"),
        "new_mac": hex_field(event, "new_mac"),
        "answers": hex_field(event, "answers"),
        "reason": event.data.get("reason"),
    }
    signed = {
        "ledger": order.ledger_uuid,
        "mac": order.mac,
        "act": order.act.value,
        "new_mac": order.new_mac,
        "answers": order.answers,
        "reason": order.reason,
    }
    for name, value in signed.items():
        if told[name] != value:
            raise contradiction(f"{where}, {name} of the order", _shown(value), _shown(told[name]))


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
