"""The work behind each subcommand: plain typed functions, importable from Python. No printing, no options."""
