"""Compares a supervisor's order with the event that tells of it."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from provisioning.board_evidence import (
    evidence_digest,
    find_fault,
    parse_evidence,
    verify_evidence,
)
from provisioning.ledger_events import Phase
from provisioning.ledger_lost_steps import lost_steps
from provisioning.ledger_retelling import contradiction, hex_field
from provisioning.station_values import Step
from provisioning.supervision import Act, parse_act
from signing.cose_message import parse_message
from signing.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning.ledger_events import Event
    from provisioning.ledger_lost_steps import Said
    from provisioning.ledger_values import LedgerIdentity


def require_told_order(
    event: Event, identity: LedgerIdentity, *, ca_der: bytes | None = None
) -> None:
    """Refuse an event that tells a supervisor's order otherwise than the supervisor signed it.

    The signature was verified when the order was carried out: the keys that were a supervisor's
    then need not be today's.

    Args:
        event: A CONFIRM of step `supervise`, verified as part of its chain.
        identity: What the ledger says it is.
        ca_der: Certificate of the factory CA, if that is known: who was adopted is of its factory.

    Raises:
        LedgerError: The order is none, says something else, or a board that was adopted did not
            prove who it is.
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
        "serial": event.serial if order.serial else "",
        "evidence": _told_evidence(event),
    }
    signed = {
        "ledger": order.ledger_uuid,
        "mac": order.mac,
        "act": order.act.value,
        "new_mac": order.new_mac,
        "answers": order.answers,
        "reason": order.reason,
        "serial": order.serial,
        "evidence": order.evidence,
    }
    for name, value in signed.items():
        if told[name] != value:
            raise contradiction(f"{where}, {name} of the order", _shown(value), _shown(told[name]))
    if order.act is Act.ADOPT:
        _require_proved(event, ca_der=ca_der, where=where)


def require_told_steps(order: Event, before: Sequence[Event]) -> None:
    """Refuse an adoption that vouches for something else than its evidence says.

    Args:
        order: The event of the order, found to be as it was signed (`require_told_order`).
        before: What its chain says of its job before it, in order.

    Raises:
        LedgerError: A step is missing or added, or says something else.
    """
    where = f"station {order.station}, event {order.number}"
    proved = verify_evidence(hex_field(order, "evidence"), now=order.at, where=where)
    signed: list[Said] = [(Step.RESERVE.value, Phase.CONFIRM, {}), *lost_steps(proved)]
    told: list[Said] = []
    for event in before:
        if (event.serial, event.mac) != (order.serial, order.mac):
            raise contradiction(
                f"{where}, event {event.number} of the adoption",
                f"{order.serial}, {_shown(order.mac)}",
                f"{event.serial}, {_shown(event.mac)}",
            )
        # What a `reserve` says is compared with the rows.
        data = {} if event.step == Step.RESERVE else dict(event.data)
        told.append((event.step, event.phase, data))
    for expected, got in zip_longest(signed, told):
        if got != expected:
            raise contradiction(f"{where}, steps of the adoption", _named(expected), _named(got))


def _named(said: Said | None) -> str:
    if said is None:
        return "no further step"
    step, phase, data = said
    told = ", ".join(f"{name} {str(value)[:80]}" for name, value in data.items())
    return f"{phase.value} {step} ({told})"


def _told_evidence(event: Event) -> bytes:
    evidence_bytes = hex_field(event, "evidence")
    return evidence_digest(evidence_bytes) if evidence_bytes else b""


def _require_proved(event: Event, *, ca_der: bytes | None, where: str) -> None:
    """Refuse an adoption that does not follow from what the board proved."""
    evidence_bytes = hex_field(event, "evidence")
    fault = find_fault(
        evidence_bytes, serial=event.serial or "", mac=event.mac, now=event.at, where=where
    )
    if fault is None and ca_der is not None and parse_evidence(evidence_bytes).ca_der != ca_der:
        fault = "it is of another factory"
    if fault is not None:
        raise contradiction(f"{where}, evidence of the board", "a proof of this very unit", fault)


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
