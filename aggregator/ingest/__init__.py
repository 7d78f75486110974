"""From the broker to columns: subscribe, decode, assemble, and remember what is settled."""
