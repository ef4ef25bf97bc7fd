"""The situations: each is given a workshop and the name of a command line, and returns what was wrong.

Their first lines are the names that they are counted under.
"""

import csv
import hashlib
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import forks
import surroundings as around
from commandlines import TYPED, Workshop, command

ESCAPE = "\x1b"
EXACT = (".h5", ".geojson", ".csv", ".jpg", ".png", ".safetensors", ".mp4")  # others hold times of the day
_REFERENCE: dict[str, tuple[bytes, dict[str, str]]] = {}
_SECONDS: dict[str, float] = {}


def run(shop: Workshop, name: str, folder: Path | None = None, *, more: tuple[str, ...] = (), **how) -> forks.Ran:
    folder = folder or shop.place(name)
    before = around.several(*(act for act in (TYPED[name].before, how.pop("before", None)) if act is not None))
    return forks.fork([*shop.words(name), *more], folder, before=before, limit_s=300, **how)


def tree(folder: Path, times: bool = False) -> dict[str, str]:
    """What lies in a folder besides the links to inputs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or name.partition("/")[0] in (".stdout", ".stderr") or path.is_dir():
            continue
        exact = path.suffix in EXACT
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if exact or times else ""
        found[name] += f" {path.stat().st_mtime_ns}" if times and exact else ""  # lists may be written anew
    return found


def reference(shop: Workshop, name: str) -> tuple[bytes, dict[str, str]]:
    """stdout and files of an undisturbed run."""
    if name not in _REFERENCE:
        folder = shop.place(name)
        ran = run(shop, name, folder)
        if ran.code != 0:
            raise RuntimeError(f"undisturbed, it ends with {ran.code}: {ran.stderr[-300:]}")
        _REFERENCE[name], _SECONDS[name] = (ran.stdout, tree(folder)), ran.seconds
    return _REFERENCE[name]


def ends(ran: forks.Ran, *codes: int | None) -> list[str]:
    wrong = [] if ran.code in codes else [f"ends with {ran.code}, not {codes}: {ran.stderr.strip()[-300:]}"]
    return wrong + ([f"a traceback: {ran.stderr[-400:]}"] if ran.traceback or "Exception ignored" in ran.stderr else [])


def one_line(ran: forks.Ran) -> list[str]:
    """The last thing said is the one line of an error, and none before it is one."""
    said = [line for line in ran.stderr.splitlines() if line.startswith("vgeo: ")]
    return [] if len(said) == 1 and ran.stderr.splitlines()[-1] == said[0] else [f"stderr: {ran.stderr[-300:]!r}"]


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return [f"other files than undisturbed: {', '.join(names[:4])}"] if names else []


# --- what goes where ---


def undisturbed(shop: Workshop, name: str) -> list[str]:
    """Undisturbed: stdout is data, inputs stay as they are, nothing half done lies about."""
    shop.place(name)  # what it needs is made
    before = tree(shop.here, times=True)
    _REFERENCE.pop(name, None)
    stdout, files = reference(shop, name)
    typed, wrong = TYPED[name], []
    try:
        if typed.data == "json":
            json.loads(stdout)
        elif typed.data == "csv":
            wrong += [] if len({len(row) for row in csv.reader(io.StringIO(stdout.decode()))}) == 1 else ["no table"]
        elif typed.data == "" and stdout:
            wrong.append(f"on stdout: {stdout[:100]!r}")
    except ValueError as error:
        wrong.append(f"stdout is no {typed.data}: {error}")
    wrong += [f"{output} is not there" for output in typed.writes if not any(x.split("/")[0] == output for x in files)]
    wrong += [f"left behind: {path}" for path in files if ".partial" in path or ".tmp" in path]
    wrong += [f"beside the outputs: {path}" for path in files if path.split("/")[0] not in typed.writes]
    return wrong + (["an input changed"] if tree(shop.here, times=True) != before else [])


def terminal(shop: Workshop, name: str) -> list[str]:
    """A terminal: stdout stays data under a bar, and the cursor is shown again."""
    screen = around.Terminal()
    ran = run(shop, name, before=screen.before, meanwhile=screen.meanwhile)
    drawn = screen.close()
    wrong = ends(ran, 0) + ([f"shows {drawn[-300:]!r}"] if ran.code else [])
    if ran.stdout != reference(shop, name)[0] and command(name) != "doctor":
        wrong.append("stdout is not what it is without a terminal")
    if ESCAPE.encode() in ran.stdout:
        wrong.append("codes on stdout")
    if TYPED[name].bar and ESCAPE not in drawn:
        wrong.append("no bar")
    hidden, shown = drawn.count("\x1b[?25l"), drawn.count("\x1b[?25h")
    return wrong + ([f"the cursor hidden {hidden} times and shown {shown} times"] if hidden > shown else [])


def pipes(shop: Workshop, name: str) -> list[str]:
    """Pipes, in each environment that talks of colors: no codes."""
    wrong = []
    for env in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CI": "true", "GITHUB_ACTIONS": "true"}, {"COLUMNS": "40"}):
        ran = run(shop, name, env=env)
        wrong += [f"{env}: {problem}" for problem in ends(ran, 0)]
        if ESCAPE in ran.stderr or ESCAPE.encode() in ran.stdout:
            wrong.append(f"codes with {env}")
    return wrong


def colors_forced(shop: Workshop, name: str) -> list[str]:
    """FORCE_COLOR: data stay data."""
    ran = run(shop, name, env={"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "PY_COLORS": "1"})
    return ends(ran, 0) + (["codes on stdout"] if ESCAPE.encode() in ran.stdout else [])


def reader_gone(shop: Workshop, name: str) -> list[str]:
    """A reader that has gone: 141, not a word."""
    ran = run(shop, name, before=around.reader_gone)
    wrong = ends(ran, *((141,) if TYPED[name].data else (0,)))
    return wrong + ([f"says {ran.stderr[-200:]!r}"] if "roken pipe" in ran.stderr else [])


def full_stdout(shop: Workshop, name: str) -> list[str]:
    """A full disk behind stdout: 74 and one line."""
    ran = run(shop, name, before=around.onto(1, "/dev/full"))
    return ends(ran, 74) + one_line(ran) if TYPED[name].data else ends(ran, 0)


def head(shop: Workshop, name: str) -> list[str]:
    """`| head -1`, for real: no noise."""
    if not TYPED[name].data:
        return []
    words = " ".join(f"'{word}'" for word in shop.words(name))
    line = f"set -o pipefail; '{sys.executable}' -m vgeo {words} | head -1"
    ran = forks.shell(["bash", "-c", line], shop.place(name))
    noise = [line for line in ran.stderr.splitlines() if re.search(r"roken pipe|Traceback|ignored|vgeo:", line)]
    return ends(ran, 0, 141) + [f"noise: {line}" for line in noise] + ([] if ran.stdout else ["no first line"])


# --- ends before the end ---


def _interrupted(shop: Workshop, name: str, number: signal.Signals, share: float) -> list[str]:
    """Send a signal to all processes of a run after a share of what it takes, and run it again."""
    folder, stdout, files = shop.place(name), *reference(shop, name)
    living: list[str] = []
    stop = around.signalled(number, share * _SECONDS[name], living)
    ran = run(shop, name, folder, meanwhile=stop)
    wrong = [f"outlived by {living}"] if living else []
    late = ran.code == -signal.SIGINT and tree(folder) == files and not ran.stderr.count("vgeo: ")
    if ran.code != 0 and not late:  # it may be quicker this time, and on its way out
        wrong += ends(ran, 130) + one_line(ran) if number is signal.SIGINT else ends(ran, 143)
    partial = [path for path in tree(folder) if ".partial" in path]
    wrong += [f"left behind: {partial[0]}"] if partial else []
    again = TYPED[name].again if (folder / (*TYPED[name].writes, "-")[0]).exists() else ()
    rerun = run(shop, name, folder, more=again)
    finished = tree(folder) == files
    wrong += [f"again: {problem}" for problem in ends(rerun, 0, *((73,) if finished else ()))]
    wrong += ["again: other data"] if rerun.stdout != stdout and command(name) != "doctor" else []
    return [f"at {share:.0%}: {problem}" for problem in wrong + differences(tree(folder), files)]


def interrupt(shop: Workshop, name: str) -> list[str]:
    """SIGINT at four moments: 130, nobody left, and the same command goes on to the same result."""
    return [problem for share in (0.2, 0.5, 0.7, 0.9) for problem in _interrupted(shop, name, signal.SIGINT, share)]


def starting(shop: Workshop, name: str) -> list[str]:
    """SIGINT while the real program starts: no traceback of its own, whatever Python says before it begins."""
    wrong = []
    for after_s in (0.06, 0.1, 0.15, 0.2):

        def stop(process: int, after_s: float = after_s) -> None:
            time.sleep(after_s)
            os.killpg(process, signal.SIGINT)

        ran = forks.shell(["vgeo", *shop.words(name)], shop.place(name), before=_listen, meanwhile=stop)
        if (ran.traceback and "vgeo/cli.py" in ran.stderr) or ran.code not in (-signal.SIGINT, 130, 0, 1):
            wrong.append(f"after {after_s} s it ends with {ran.code}: {ran.stderr[-300:]}")
    return wrong


def _listen() -> None:
    """A shell's background job ignores SIGINT, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def terminate(shop: Workshop, name: str) -> list[str]:
    """SIGTERM at two moments: 143, nobody left, and the same command goes on to the same result."""
    return [problem for share in (0.4, 0.8) for problem in _interrupted(shop, name, signal.SIGTERM, share)]


def second_run(shop: Workshop, name: str) -> list[str]:
    """The same once more: what is there is kept, untouched."""
    folder = shop.place(name)
    run(shop, name, folder)
    before = tree(folder, times=True)
    ran = run(shop, name, folder)
    wrong = ends(ran, 0, 73) + (one_line(ran) if ran.code == 73 else [])
    changed = differences({k: v for k, v in tree(folder, times=True).items() if k in before}, before)
    return wrong + [f"done twice: {problem}" for problem in changed]


SITUATIONS = (
    undisturbed, terminal, pipes, colors_forced, reader_gone, full_stdout, head, interrupt, starting, terminate,
    second_run,
)  # fmt: skip
