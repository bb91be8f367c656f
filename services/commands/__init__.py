"""The verbs of the command line, by what they act on; `services.cli` puts them together."""
