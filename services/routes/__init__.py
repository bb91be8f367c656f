"""The REST surface, one file per noun; `services/web/rest.py` puts them together."""
