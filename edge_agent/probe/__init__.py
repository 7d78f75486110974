"""Looks who is on a bus, and which device map fits each meter. Reads only."""
