"""Bytes to pixels and back; the web is not needed here."""
