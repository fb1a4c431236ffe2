"""A way to find what the ledger tells of instruments and check standards without all events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the index of the events of steps `instrument` and `check-standard`."""
    only = sa.text("step IN ('instrument', 'check-standard')")
    op.create_index(
        "ix_events_metrology",
        "events",
        ["station", "number"],
        sqlite_where=only,
        postgresql_where=only,
    )


def downgrade() -> None:
    """Refuse: a ledger is never made younger."""
    raise NotImplementedError
