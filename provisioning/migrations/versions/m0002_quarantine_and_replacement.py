"""Quarantine of boards, and modules that were replaced."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the two tables."""
    op.create_table(
        "quarantines",
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mac", sa.LargeBinary(6), nullable=False),
        sa.Column("serial", sa.String(20), nullable=True),
        sa.Column("board_class", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(400), nullable=False),
        sa.Column("record_digest", sa.LargeBinary(32), nullable=True),
        sa.Column("opened_at", sa.String(27), nullable=False),
        sa.Column("closed_at", sa.String(27), nullable=True),
        sa.PrimaryKeyConstraint("station", "number", name=op.f("pk_quarantines")),
    )
    op.create_index("ix_quarantines_mac", "quarantines", ["mac"])
    op.create_table(
        "replaced_modules",
        sa.Column("mac", sa.LargeBinary(6), nullable=False),
        sa.Column("serial", sa.String(20), nullable=False),
        sa.Column("replaced_by", sa.LargeBinary(6), nullable=False),
        sa.Column("replaced_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["serial"], ["units.serial"], name=op.f("fk_replaced_modules_serial")
        ),
        sa.PrimaryKeyConstraint("mac", name=op.f("pk_replaced_modules")),
    )


def downgrade() -> None:
    """Refuse: a ledger is never made younger, because that would forget quarantines."""
    raise NotImplementedError
