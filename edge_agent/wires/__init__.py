"""Wires: how bytes travel to meters, whatever they mean. Links speak a protocol over a wire."""
