"""The processes that learn, and where they run."""
