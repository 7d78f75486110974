"""Links: one file per protocol that talks to meters."""
