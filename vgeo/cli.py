"""The `vgeo` command: registers the subcommands, and turns whatever happens into one line and an exit code."""

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, NoReturn

import typer
from typer._click.exceptions import ClickException  # Typer vendors Click since 0.26 and re-exports no base class

from vgeo import __version__, errors, logs
from vgeo.errors import InputError, VgeoError

COMMANDS = {
    "Pipeline": (
        "extract-frames",
        "precompute-features",
        "sample-clips",
        "label-scenes",
        "fetch-tiles",
        "build-gallery",
        "train",
        "localize",
        "merge",
        "rank",
        "score-trajectory",
        "score-places",
        "score-rankings",
    ),
    "Help": ("demo", "methods", "doctor"),
}

app = typer.Typer(
    name="vgeo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: vgeo demo",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vgeo {__version__}")
        raise typer.Exit


@app.callback()
def vgeo(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv shows tracebacks.", show_default=False)
    ] = 0,
    quiet: Annotated[
        int, typer.Option("--quiet", "-q", count=True, help="Say less; -qq only errors.", show_default=False)
    ] = 0,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Say where a video was filmed.

    Each command reads what the one before it wrote: in a folder that holds clips/, most need no arguments.
    """
    logs.configure(verbose - quiet)
    try:
        os.getcwd()  # MKL, which comes with torch, ends the process without it
    except FileNotFoundError as error:
        raise InputError("this folder was deleted; change to one that is there") from error


def reflow(docstring: str | None) -> str:
    """A docstring as paragraphs of one line each: the terminal's width decides where lines break."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def register(application: typer.Typer) -> None:
    """Add every subcommand; each module imports only typer and the standard library."""
    for panel, names in COMMANDS.items():
        for name in names:
            module = importlib.import_module(f"vgeo.commands.{name.replace('-', '_')}")
            function = getattr(module, name.replace("-", "_"))
            application.command(
                name, help=reflow(function.__doc__), epilog=f"Example: {module.EXAMPLE}", rich_help_panel=panel
            )(function)


register(app)


def main() -> NoReturn:
    """Entry point of the console script."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # of vgeo.__main__
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _open_closed_streams()
    _leave_pipes_plain()
    sys.unraisablehook = _interrupt_again
    # A polite kill, as of `timeout` or a batch system: unfinished files are removed on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    code = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to do: no traceback from Python's own way out
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = errors.BROKEN_PIPE
        _silence_stdout()
    except OSError as error:
        if code == errors.OK:
            code = _fail(f"stdout: cannot be written ({(error.strerror or str(error)).lower()})", errors.IO_ERROR)
        _silence_stdout()
    sys.exit(code)


def run(args: Sequence[str]) -> int:  # noqa: PLR0911  # one return for each way that a run ends
    """Run one command line and return its exit code. Nothing but the chosen data is printed on stdout."""
    args = hoist_verbosity(args)
    try:
        command = typer.main.get_command(app)
        if "_VGEO_COMPLETE" in os.environ:
            command.main(list(args), prog_name="vgeo")
        with command.make_context("vgeo", list(args)) as context:
            command.invoke(context)
        return errors.OK
    except typer.Exit as stop:
        return int(stop.exit_code)
    except ClickException as error:
        if not error.format_message():  # bare `vgeo`: Typer has printed the help
            return errors.USAGE
        usage = getattr(error, "ctx", None)  # none where an option's value is missing
        typed = " ".join(["vgeo", *[arg for arg in args if arg in chain.from_iterable(COMMANDS.values())][:1]])
        message = error.format_message().rstrip(".")
        help_of = typed if usage is None else usage.command_path
        message += f"{' See' if message.endswith('?') else '; see'} '{help_of} --help'"
        return _fail(message, errors.USAGE)
    except VgeoError as error:
        return _fail(str(error), error.exit_code, error, args)
    except (KeyboardInterrupt, typer.Abort):
        again = "add --resume to" if "train" in args else "run the same command again to"
        return _fail(f"interrupted; what was finished is kept, {again} go on", errors.INTERRUPTED)
    except BrokenPipeError:
        _silence_stdout()
        return errors.BROKEN_PIPE
    except OSError as error:
        if errors.is_out_of_memory(error):
            return _fail(errors.NO_MEMORY, errors.UNAVAILABLE, error, args)
        failed = error.errno in errors.DISK_ERRNOS
        # What names no file is a stream: every file is written by functions that name it.
        where = error.filename or ("stdout: cannot be written" if failed else "input or output")
        code = errors.IO_ERROR if failed else errors.INTERNAL
        return _fail(f"{where}: {error.strerror or error}", code, error, args)
    except Exception as error:
        if errors.is_out_of_memory(error):
            return _fail(errors.NO_MEMORY, errors.UNAVAILABLE, error, args)
        return _fail(
            f"internal error, {type(error).__name__}: {error}; run again with -vv for the traceback and report it",
            errors.INTERNAL,
            error,
            args,
        )


def hoist_verbosity(args: Sequence[str]) -> list[str]:
    """Move -v, -q and their kin in front, so that they work after a subcommand as well."""
    end = list(args).index("--") if "--" in args else len(args)
    flags = {"-v", "-vv", "-vvv", "-q", "-qq", "--verbose", "--quiet"}
    moved = [arg for arg in args[:end] if arg in flags]
    return moved + [arg for i, arg in enumerate(args) if i >= end or arg not in flags]


def _fail(message: str, code: int, error: BaseException | None = None, args: Sequence[str] = ()) -> int:
    if error is not None and sum(arg.count("v") for arg in args if arg in ("-v", "-vv", "-vvv")) > 1:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    # Names from a stranger's file may hold newlines and escape codes: one printable line, whatever they hold. Only
    # the advice on missing weights, which is all our own words, has a line for each way out.
    for line in message.splitlines() if code == errors.UNAVAILABLE else [message]:
        text = "".join(letter if letter.isprintable() else " " for letter in line)
        print(text if line.startswith(" ") else f"vgeo: {text}", file=sys.stderr)
    return code


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed: Python has None there, and a file opened later its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open for good


def _interrupt_again(unraised: "sys.UnraisableHookArgs") -> None:
    """Signal once more what came while a destructor or a callback ran: Python prints what they raise, and goes on."""
    number = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(unraised.exc_type)
    if number is None:
        sys.__unraisablehook__(unraised)
    else:  # when it is over: raised in here, it would be lost again
        import threading

        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()


def _leave_pipes_plain() -> None:
    """Take help in a pipe for what it is on GitHub's machines too, where Typer colors it; FORCE_COLOR still does."""
    forced = os.environ.get("FORCE_COLOR") or os.environ.get("PY_COLORS")
    if "GITHUB_ACTIONS" in os.environ and not forced and not sys.stdout.isatty():
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"


def _silence_stdout() -> None:
    """The reader has gone: keep the interpreter's own flush at exit from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
