"""Decoders: from answers of meters to readings, one file per protocol. Pure."""
