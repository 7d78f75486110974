"""Edge agent: polls meters, buffers durably, forwards."""
