"""Explanation losses, one published method per file."""
