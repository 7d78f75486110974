"""Slow, obvious versions of the kernels: Python integers, no import of the product."""
