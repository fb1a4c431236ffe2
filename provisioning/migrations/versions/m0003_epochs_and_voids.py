"""Epochs that a restore opens, and the numbers that it voids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what opened the epoch, and the table of voided ranges."""
    op.add_column("ledger_identity", sa.Column("opening", sa.String(36), nullable=True))
    op.create_table(
        "voided_ranges",
        sa.Column("prefix", sa.String(3), nullable=False),
        sa.Column("model", sa.String(3), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("week", sa.Integer(), nullable=False),
        sa.Column("first_sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("voided_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint(
            "prefix", "model", "year", "week", "first_sequence", name=op.f("pk_voided_ranges")
        ),
    )


def downgrade() -> None:
    """Refuse: a ledger is never made younger, because that would forget numbers."""
    raise NotImplementedError
