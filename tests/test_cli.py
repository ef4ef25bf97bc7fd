"""The command's manners: exit codes, one line for every error, clean streams."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import typer

from vgeo import cli, errors
from vgeo.cli import hoist_verbosity, reflow, run


def vgeo(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vgeo", *args], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):
    """Make `vgeo doctor` raise a given error."""

    def use(error: BaseException) -> None:
        def examine() -> None:
            raise error

        monkeypatch.setattr("vgeo.stages.doctor.examine", examine)

    return use


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("a"), 2),
        (errors.FormatError("a"), 65),
        (errors.InputError("a"), 66),
        (errors.MissingModelError("a"), 69),
        (errors.OutputError("a"), 73),
        (errors.DiskError("a"), 74),
        (errors.BusyError("a"), 75),
        (errors.SettingError("a"), 78),
        (OSError(errno.ENOSPC, "No space left on device", "x.h5"), 74),
        (ZeroDivisionError("a"), 70),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (typer.Exit(3), 3),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(error, code, raising, capfd) -> None:
    raising(error)
    assert run(["doctor"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == (0 if isinstance(error, typer.Exit) else 1)
    assert "Traceback" not in err


def test_a_message_is_one_printable_line(raising, capfd) -> None:
    raising(errors.FormatError("track a\nb\x1b[31m: bad"))
    assert run(["doctor"]) == 65
    assert capfd.readouterr().err == "vgeo: track a b [31m: bad\n"


def test_tracebacks_on_request(raising, capfd) -> None:
    raising(errors.FormatError("x.gpx: no track"))
    run(["doctor", "-vv"])
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == "vgeo: x.gpx: no track"


def test_usage_errors_name_the_help(capfd) -> None:
    assert run(["doctor", "--nope"]) == 2
    assert "see 'vgeo doctor --help'" in capfd.readouterr().err
    assert run(["docter"]) == 2
    assert "doctor" in capfd.readouterr().err


def test_version(capfd) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"vgeo {cli.__version__}\n"


def test_verbosity_may_stand_anywhere() -> None:
    assert hoist_verbosity(["doctor", "--json", "-vv"]) == ["-vv", "doctor", "--json"]
    assert hoist_verbosity(["localize", "-q", "--", "-v"]) == ["-q", "localize", "--", "-v"]


def test_reflow_joins_lines_of_a_paragraph() -> None:
    assert reflow("One\n    two.\n\n    Three.") == "One two.\n\nThree."


def test_no_escape_codes_in_a_pipe() -> None:
    for args in (["--help"], ["doctor"], ["doctor", "--help"], ["methods"], ["nope"]):
        done = vgeo(*args)
        assert "\x1b" not in done.stdout + done.stderr, args


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m vgeo doctor | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 141)  # 0 when the writer was faster than the reader's end
    assert done.stderr == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    command = f"{sys.executable} -c 'from vgeo.cli import main; main()' methods {closed}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert ("geoclip" in done.stdout) == (closed in ("<&-", "2>&-"))


def test_a_bar_keeps_off_stdout_and_off_the_lines() -> None:
    code = (
        "import logging, sys, time\nfrom vgeo import logs\nlogs.configure(0)\n"
        "with logs.progress_bar() as bar:\n"
        "    bar.start('work', 2, 'clips')\n    time.sleep(0.3)\n"
        "    logging.getLogger('vgeo.x').info('one: done')\n    sys.stdout.write('data\\n')\n    bar.advance(2)\n"
    )
    ours, theirs = os.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, text=True, check=True, env=environment
    )
    os.close(theirs)
    drawn = os.read(ours, 2**16).decode()
    os.close(ours)
    assert done.stdout == "data\n"
    assert "0/2" in drawn and "one: done" in drawn
    assert not re.search(r"clips[^\r\n]*one: done", drawn), "a line of its own, above the bar"


def test_interrupt_ends_with_130(tmp_path) -> None:
    code = "import time, vgeo.stages.doctor as d\nd.examine = lambda: time.sleep(30)\nfrom vgeo.cli import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "doctor"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err.startswith("vgeo: interrupted")


def test_a_polite_kill_leaves_no_unfinished_file(tmp_path) -> None:
    code = (
        "import time, vgeo.stages.doctor as d\nfrom vgeo.formats.streams import atomic_write\n"
        "def examine():\n    with atomic_write('x.json'):\n        print(flush=True)\n        time.sleep(30)\n"
        "d.examine = examine\nfrom vgeo.cli import main\nmain()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "doctor"], stdout=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None and process.stdout.readline() and os.listdir(tmp_path)
    process.terminate()
    assert process.wait(timeout=10) == 143 and not os.listdir(tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_protocol_answers(shell: str) -> None:
    words = {"bash": {"COMP_WORDS": "vgeo doc", "COMP_CWORD": "1"}}.get(
        shell, {"_TYPER_COMPLETE_ARGS": "vgeo doc", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    done = vgeo(env={**os.environ, "_VGEO_COMPLETE": f"complete_{shell}", **words})
    assert "doctor" in done.stdout


@pytest.mark.parametrize(("forced", "colored"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_help_in_a_pipe_is_plain_on_github_too(forced: dict[str, str], colored: bool) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PY_COLORS", "FORCE_COLOR")}
    assert ("\x1b" in vgeo("doctor", "--help", env=plain | {"GITHUB_ACTIONS": "true"} | forced).stdout) == colored


def test_an_option_without_its_value_names_the_help(capfd) -> None:
    assert run(["localize", "--out"]) == 2
    assert capfd.readouterr().err == "vgeo: Option '--out' requires an argument; see 'vgeo localize --help'\n"


def test_a_deleted_folder_is_said(tmp_path) -> None:
    line = f"mkdir gone; cd gone; rmdir ../gone; {sys.executable} -m vgeo doctor"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 66
    assert done.stderr == "vgeo: this folder was deleted; change to one that is there\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_destructor_is_neither_lost_nor_printed(number: int, code: int) -> None:
    script = (
        "import os, time, vgeo.stages.doctor as d\nclass Last:\n    def __del__(self):\n"
        f"        os.kill(os.getpid(), {int(number)})\n        time.sleep(0.1)\n"
        "def examine():\n    last = Last()\n    del last\n    time.sleep(30)\n"
        "d.examine = examine\nfrom vgeo.__main__ import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
