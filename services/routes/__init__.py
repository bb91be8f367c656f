"""The REST surface, one file per noun; `services/rest.py` puts them together."""
