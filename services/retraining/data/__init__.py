"""The rows that a retraining learns from."""
