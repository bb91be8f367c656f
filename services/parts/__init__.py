"""What is installed of Rightly, and how the rest gets here; the standard library alone.

The Makefile runs `services.parts.installing` in an empty environment, before anything else is
there.
"""
