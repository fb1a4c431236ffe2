"""The run that owns a job, and a way to find what stations signed without reading all events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the owner of a job, and the index of the events of step `heads`."""
    op.add_column("jobs", sa.Column("run", sa.String(36), nullable=True))
    only = sa.text("step = 'heads'")
    op.create_index(
        "ix_events_heads",
        "events",
        ["station", "number"],
        sqlite_where=only,
        postgresql_where=only,
    )


def downgrade() -> None:
    """Refuse: a ledger is never made younger, because that would forget who owns a job."""
    raise NotImplementedError
