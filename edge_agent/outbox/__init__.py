"""The durable buffer between polling and sending."""
