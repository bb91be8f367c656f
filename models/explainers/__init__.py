"""Explainers: each says which pixels speak for a class; one method, one file."""
