"""Blocks of numbers that stations hold for work without the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table of leases."""
    op.create_table(
        "leases",
        sa.Column("prefix", sa.String(3), nullable=False),
        sa.Column("model", sa.String(3), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("week", sa.Integer(), nullable=False),
        sa.Column("first_sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request", sa.LargeBinary(16), nullable=False),
        sa.Column("issued_at", sa.String(27), nullable=False),
        sa.Column("expires_at", sa.String(27), nullable=False),
        sa.Column("document_digest", sa.LargeBinary(32), nullable=True),
        sa.Column("closed_at", sa.String(27), nullable=True),
        sa.Column("reason", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint(
            "prefix", "model", "year", "week", "first_sequence", name=op.f("pk_leases")
        ),
        sa.UniqueConstraint("station", "number", name=op.f("uq_leases_station_number")),
    )


def downgrade() -> None:
    """Refuse: a ledger is never made younger, because that would forget leases."""
    raise NotImplementedError
