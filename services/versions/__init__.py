"""What a version is worth, and where it comes from."""
