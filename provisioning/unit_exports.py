"""Exports the record of one unit so that a stranger can check it (`unit_export_checking`).

An export holds every event of the unit as it was written, and for each station the links of its
chain from the unit's first event to the head: of other units only the digests, which tell nothing
about them. The heads are signed by the station, whose certificate chains to the factory CA.
Normative text: docs/spec/ledger-and-record-export.md §6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.ledger_connection import ConnectionQuestions
from provisioning.ledger_event_rows import read_events
from provisioning.ledger_events import event_digest, format_time
from provisioning.ledger_journal import read_links, verify_station_chain
from provisioning.ledger_queries import list_jobs
from provisioning.ledger_units import find_unit
from provisioning.unit_events import event_document
from provisioning.unit_export_checking import EXPORT_SCHEMA, HEAD_CONTENT_TYPE, serialize_heads
from provisioning.unit_records import job_document, unit_document
from signing.cose import sign_one

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from provisioning.ledger import Ledger
    from provisioning.ledger_events import ChainedEvent
    from provisioning.station_keys import StationKeys


def export_unit(
    ledger: Ledger, serial: str, *, keys: StationKeys, station: str, now: dt.datetime
) -> dict[str, object]:
    """Return the whole record of a unit with the proof of its place in every chain.

    Args:
        ledger: The open ledger.
        serial: Serial number of the unit.
        keys: Keys of the station that vouches for the heads.
        station: Its name.
        now: The present, aware.

    Raises:
        LedgerError: There is no such unit, or a chain is broken.
    """
    unit = find_unit(ledger.database, serial=serial)
    with ledger.database.reading() as connection:  # one state of the ledger for all of it
        events = read_events(ConnectionQuestions(connection), serial=serial)
        stations = sorted({chained.event.station for chained in events})
        chains = [_chain_document(connection, name, events) for name in stations]
        heads: dict[str, list[object]] = {
            name: list(verify_station_chain(connection, name)) for name in stations
        }
    ledger.database.flush()  # what is signed must never be forgotten
    statement = serialize_heads(
        uuid=ledger.identity.uuid,
        epoch=ledger.identity.epoch,
        serial=serial,
        exported_at=format_time(now),
        heads=heads,
    )
    return {
        "schema": EXPORT_SCHEMA,
        **unit_document(unit),
        "ledger": {"uuid": ledger.identity.uuid, "epoch": ledger.identity.epoch},
        "exported_at": format_time(now),
        "exported_by": station,
        "jobs": [job_document(job) for job in list_jobs(ledger.database, serial)],
        "events": [event_document(chained.event, link=chained.hash) for chained in events],
        "chains": chains,
        "heads_cose": sign_one(
            statement, keys.station_signer, content_type=HEAD_CONTENT_TYPE
        ).hex(),
        "station_certificate": keys.station_der.hex(),
    }


def _chain_document(
    connection: Connection, station: str, events: Sequence[ChainedEvent]
) -> dict[str, object]:
    own = {
        chained.event.number: chained.content
        for chained in events
        if chained.event.station == station
    }
    rows = read_links(connection, station, first_number=min(own))
    links = [
        {
            "number": row.number,
            "digest": event_digest(row.content).hex(),
            "hash": row.hash.hex(),
            **({"content": own[row.number].hex()} if row.number in own else {}),
        }
        for row in rows
    ]
    return {"station": station, "previous": rows[0].previous.hex(), "links": links}
