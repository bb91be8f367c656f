"""What is written down, and where it is found again."""
