"""Runs the migrations on the connection that `provisioning.ledger_database` passes in."""

from __future__ import annotations

from alembic import context

from provisioning.ledger_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
context.run_migrations()
