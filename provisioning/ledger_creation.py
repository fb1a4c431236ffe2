"""Creates the one ledger of a factory, with its identity and the format of its serial numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert

from provisioning.ledger_database import create_database
from provisioning.ledger_events import Phase, format_time
from provisioning.ledger_formats import FORMAT_KEY, FORMAT_STEP
from provisioning.ledger_journal import append_event
from provisioning.ledger_schema import ledger_identity
from provisioning.ledger_values import LedgerIdentity, Writer
from provisioning.serial_formats import STANDARD_FORMAT, SerialFormat

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy import Connection

    from provisioning.ledger_address import LedgerAddress


def create_ledger(
    address: LedgerAddress,
    *,
    product: str,
    ledger_uuid: str,
    created_at: dt.datetime,
    serial_format: SerialFormat = STANDARD_FORMAT,
    station: str = "",
) -> LedgerIdentity:
    """Create the one ledger of a factory. Only `ampforge station init` does this.

    Args:
        address: A file that must not exist, or an empty database of PostgreSQL.
        product: Product whose units are counted here.
        ledger_uuid: A new UUID.
        created_at: Now, aware.
        serial_format: What its serial numbers look like, for ever.
        station: The station whose chain says so; needed when the format is not the standard one.

    Raises:
        LedgerError: There is a ledger already, or it cannot be written.
    """
    identity = LedgerIdentity(
        uuid=ledger_uuid,
        epoch=1,
        product=product,
        created_at=created_at,
        serial_format=serial_format,
    )

    def first_rows(connection: Connection) -> None:
        connection.execute(
            insert(ledger_identity).values(
                row=1,
                uuid=identity.uuid,
                epoch=identity.epoch,
                product=identity.product,
                created_at=format_time(identity.created_at),
            )
        )
        if serial_format != STANDARD_FORMAT:
            _write_format(connection, serial_format, station=station, at=created_at)

    create_database(address, fill=first_rows)
    return identity


def _write_format(
    connection: Connection, serial_format: SerialFormat, *, station: str, at: dt.datetime
) -> None:
    """Write the format down as the first event of a new ledger, in the transaction that makes it.

    Args:
        connection: Inside that transaction.
        serial_format: The format, for ever.
        station: The station that makes the ledger.
        at: Now, aware.
    """
    writer = Writer(station=station, now=lambda: at, new_job=lambda: "")
    append_event(
        connection, writer, epoch=1, step=FORMAT_STEP, phase=Phase.CONFIRM,
        data={FORMAT_KEY: serial_format.picture}, mac=None, reservation=None, at=at,
    )  # fmt: skip
