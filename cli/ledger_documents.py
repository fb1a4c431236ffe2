"""A verified ledger as JSON values and as lines for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import count_of

if TYPE_CHECKING:
    from provisioning.ledger_verification import VerifiedLedger

LEDGER_VERIFIED_SCHEMA = "ampforge.ledger-verified/1"


def describe_verified(verified: VerifiedLedger) -> dict[str, object]:
    """Return what was verified as JSON values."""
    identity = verified.identity
    return {
        "schema": LEDGER_VERIFIED_SCHEMA,
        "ledger": {
            "path": verified.address,
            "uuid": identity.uuid,
            "epoch": identity.epoch,
        },
        "event_count": verified.event_count,
        "signatures_verified": verified.is_signature_verified,
        "witnessed": verified.is_witnessed,
        "chains": [
            {
                "station": chain.station,
                "count": chain.count,
                "head": chain.head.hex(),
                "signed_count": chain.signed_count,
            }
            for chain in verified.chains
        ],
    }


def format_verified(verified: VerifiedLedger) -> list[str]:
    """Return what was verified, and what could not be, as lines for a person."""
    identity = verified.identity
    whole = f"ledger {identity.uuid}, epoch {identity.epoch}, is whole"
    lines = [f"{whole}: {count_of(verified.event_count, 'event')}, and every row follows from them"]
    lines += [
        f"  {chain.station}: {count_of(chain.count, 'event')}, "
        f"{chain.signed_count} of them signed, head {chain.head.hex()}"
        for chain in verified.chains
    ]
    if not verified.is_signature_verified:
        lines.append("signatures were not verified: the folder has no factory-ca.cert.der")
    if not verified.is_witnessed:
        lines.append("nothing was compared with this station's memory: it has none of this ledger")
    return lines
