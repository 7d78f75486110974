"""Tests mirror the product: tests/<package>/test_<module>.py."""
