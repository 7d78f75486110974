"""Where readings and the ledger are kept: one protocol, embedded or InfluxDB."""
