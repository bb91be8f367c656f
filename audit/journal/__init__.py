"""The append-only journal: one file per writer, one checked canonical line per entry."""
