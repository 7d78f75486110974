"""Chaos: an installation on real parts under scripted or drawn faults, and the proof afterwards."""
