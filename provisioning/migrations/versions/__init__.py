"""One module for each step of the ledger's history; never edited after a release."""
