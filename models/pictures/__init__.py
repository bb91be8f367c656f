"""Bytes to pixels, the same for whoever learns, serves, measures or imports."""
