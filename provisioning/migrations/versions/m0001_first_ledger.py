"""First form of the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the five tables."""
    op.create_table(
        "ledger_identity",
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("product", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.CheckConstraint("row = 1", name=op.f("ck_ledger_identity_only_one_row")),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_ledger_identity")),
    )
    op.create_table(
        "serial_numbers",
        sa.Column("serial", sa.String(20), nullable=False),
        sa.Column("prefix", sa.String(3), nullable=False),
        sa.Column("model", sa.String(3), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("week", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("mac", sa.LargeBinary(6), nullable=True),
        sa.Column("reserved_at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_serial_numbers")),
        sa.UniqueConstraint("mac", name=op.f("uq_serial_numbers_mac")),
        sa.UniqueConstraint(
            "prefix",
            "model",
            "year",
            "week",
            "sequence",
            name=op.f("uq_serial_numbers_prefix_model_year_week_sequence"),
        ),
    )
    op.create_table(
        "units",
        sa.Column("serial", sa.String(20), nullable=False),
        sa.Column("mac", sa.LargeBinary(6), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("bundle_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("last_job", sa.String(36), nullable=True),
        sa.Column("first_seen_at", sa.String(27), nullable=False),
        sa.Column("changed_at", sa.String(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["serial"], ["serial_numbers.serial"], name=op.f("fk_units_serial")
        ),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_units")),
        sa.UniqueConstraint("mac", name=op.f("uq_units_mac")),
    )
    op.create_table(
        "jobs",
        sa.Column("job", sa.String(36), nullable=False),
        sa.Column("serial", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("bundle_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(24), nullable=True),
        sa.Column("opened_at", sa.String(27), nullable=False),
        sa.Column("closed_at", sa.String(27), nullable=True),
        sa.ForeignKeyConstraint(["serial"], ["units.serial"], name=op.f("fk_jobs_serial")),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_jobs")),
        sa.UniqueConstraint("serial", "number", name=op.f("uq_jobs_serial_number")),
    )
    op.create_table(
        "events",
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("job", sa.String(36), nullable=True),
        sa.Column("serial", sa.String(20), nullable=True),
        sa.Column("step", sa.String(24), nullable=False),
        sa.Column("phase", sa.String(8), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("station", "number", name=op.f("pk_events")),
        sa.UniqueConstraint("hash", name=op.f("uq_events_hash")),
    )
    op.create_index("ix_events_serial", "events", ["serial"])
    op.create_index("ix_events_job", "events", ["job"])


def downgrade() -> None:
    """Refuse: a ledger is never made younger, because that would forget numbers."""
    raise NotImplementedError
