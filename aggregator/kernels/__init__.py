"""Compiled loops over arrays and scalars: no strings, no datetime, no I/O, no logging.

The pipeline calls them from ONE thread. They are serial and keep nothing, so the API's threads may
call them too, once `warm_up` has compiled them.

The rules of the register kernel: docs/formats/ledger.md.
"""
