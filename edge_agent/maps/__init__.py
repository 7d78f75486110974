"""Device maps: one file per protocol that says what its maps hold. Pure."""
