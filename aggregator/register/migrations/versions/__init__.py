"""The steps, in order; each is taken once per database and never edited afterwards."""
