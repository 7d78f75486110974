"""Simulators: signals whose truth is known first, then meters that speak the real protocols."""
