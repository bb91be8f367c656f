"""Shortcut reliance: what happens to the answer when the irrelevant part of an image changes."""
