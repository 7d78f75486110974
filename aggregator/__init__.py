"""Turns readings into an energy ledger: MQTT to columns, ledger, store, acknowledgement."""
