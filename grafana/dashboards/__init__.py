"""One module a dashboard; each makes a `Board` in one language."""
