"""The demonstration: a whole district on real parts, and the proof that no energy was lost."""
