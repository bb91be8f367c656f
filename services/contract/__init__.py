"""Every request and response type of the public surface."""
