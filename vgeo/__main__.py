"""The command `vgeo`, and `python -m vgeo`: begins it so that Ctrl-C ends it at any time without a traceback."""

import signal


def main() -> None:
    """Load the command line and hand over to it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored: let it be
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is somebody to say in one line what was kept
    from vgeo.cli import main as begin

    begin()


if __name__ == "__main__":
    main()
