"""The HTTP API: what the ledger says, to people and programs."""
