"""A fleet: one process that publishes as thousands of edges, by the real contract and its acks."""
