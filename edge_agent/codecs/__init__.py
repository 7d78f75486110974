"""Codecs: frames of the field protocols as bytes. Pure functions; they know no wire and no clock.

Each file offers questions: frozen values that know the bytes to send and how to find their own
answer among what is heard on a shared wire.
"""
