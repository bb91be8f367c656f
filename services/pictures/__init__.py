"""Pixels to what is shown and kept; bytes become pixels in `models.pictures`."""
