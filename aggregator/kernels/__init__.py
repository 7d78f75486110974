"""Compiled loops over arrays and scalars: no strings, no datetime, no I/O, no logging.

Call them from ONE thread. The rules of the register kernel: docs/formats/ledger.md.
"""
