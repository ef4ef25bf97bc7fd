"""One file per subcommand: it parses, calls the stage of the same name, prints. Only typer and the standard
library are imported at module level here, so that `--help` and completion start fast.

A command module holds EXAMPLE (one runnable line, shown under --help and in the man page) and a function of the
module's own name.
"""
