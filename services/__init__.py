"""Processes: everything with an address, a clock or a command line."""
