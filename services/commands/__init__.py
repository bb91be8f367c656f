"""The verbs of the command line, by what they act on; `commands.cli` puts them together."""
