"""Figures with machine, size and a ratio measured in the same run: `python -m tests.benchmarks`."""
