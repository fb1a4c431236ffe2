"""Alembic history of the factory's ledger; run by `provisioning.ledger_database` alone."""
