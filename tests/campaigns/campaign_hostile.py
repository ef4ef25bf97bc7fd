"""Files of strangers: feature files and galleries, models, tracks and tables, and names that are paths.

A trial puts a file into a folder and runs a command on it, as a user would. It says what is to come of it: refused with
a certain exit code and a certain word in the one line that is said, or handled, with a result that is checked. Besides
that, of every run: no traceback, no internal error, no hang, at most 200 MB more memory than the command takes of an
honest file, no attempt to reach a network, and nothing read from or changed in the folder around its own, in which lie
secrets and canaries.
"""

import hashlib
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import forks
from smallworld import HONEST
from trials import Trial

TITLE = "Hostile files"
PROMISE = (
    "Files of strangers are refused with the right code and a line that says why, or handled; nothing outside is read "
    "or touched, no network is asked for, no code is run, and it takes less than 200 MB."
)

_MOST_MB = 200.0  # more than the command takes of an honest file, or than one that does nothing
_LIMIT_S = 60.0
FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.system", "os.exec")
SECRET = "canary-4711"  # what lies in the files outside, and may appear nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One trial. make: puts files into the folder of the run. code: any of these; says: a regular expression."""

    name: str
    kind: str
    make: Callable[[Path], None]
    args: tuple[str, ...]
    code: tuple[int, ...]
    says: str = ""
    holds: Callable[[Path, forks.Ran], str] | None = None  # what is wrong with the result; "" where nothing is
    may_make: str = r"out(\.\w+)?"  # names that may appear in the folder of the run
    stdin: str | None = None
    libraries_mb: float = 0.0  # of libraries that only this case loads


def trials(scratch: Path, share: float) -> Iterator[Trial]:
    """All cases of the four kinds, each in a folder of its own."""
    import hostile_h5
    import hostile_models
    import hostile_paths
    import hostile_tracks

    world = hostile_paths.world(scratch / "world", train=share >= 1)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        idle = {
            args[0]: _run(_folder(scratch / args[0], world), args).peak_mb
            for args in HONEST
            if share >= 1 or args[0] != "train"
        }
        idle[""] = _run(_folder(scratch / "idle", world), ("--version",)).peak_mb
        cases = [
            *hostile_h5.cases(world), *hostile_models.cases(world), *hostile_tracks.cases(world, port),
            *hostile_paths.cases(world, port),
        ]  # fmt: skip
        for case in cases if share >= 1 else _spread(cases, share):
            yield _try(scratch / "trial", world, case, server, idle.get(case.args[0], idle[""]))


def _spread(cases: list[Case], share: float) -> list[Case]:
    """Some of each kind, those that need no training."""
    chosen = [case for case in cases if not {"train", "models/geoclip", "model"} & set(case.args)]
    return chosen[:: max(1, round(1 / share))]


def _try(top: Path, world: Path, case: Case, server: socket.socket, idle_mb: float) -> Trial:
    """Run a case between canaries."""
    here = _folder(top, world)
    try:
        case.make(here)
        around, inside = _tree(top, here), set(_names(here))
        ran = _run(here, case.args, case.stdin)
        wrong = list(_faults(case, ran, idle_mb))
        made = sorted(name for name in set(_names(here)) - inside if not re.match(rf"({case.may_make})(/|$)", name))
        wrong += [f"made {name}" for name in made[:3]]
        wrong += ["touched what lies outside"] if _tree(top, here) != around else []
        wrong += ["reached out to the network"] if _asked(server) or (here.parent / "network").exists() else []
        if not wrong and case.holds is not None and (complaint := case.holds(here, ran)):
            wrong.append(complaint)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    said = f"{'; '.join(wrong)} [{ran.code}: {ran.stderr.strip()[-300:]}]" if wrong else ""
    return Trial(f"{case.name}: {' '.join(case.args[:2])}"[:90], case.kind, not wrong, said, {"mb": ran.peak_mb})


def _faults(case: Case, ran: forks.Ran, idle_mb: float) -> Iterator[str]:
    if ran.code not in case.code:
        yield f"ended with {'a hang' if ran.code is None else ran.code}, expected {' or '.join(map(str, case.code))}"
    if ran.traceback or "internal error" in ran.stderr:
        yield "internal error or traceback"
    if not re.search(case.says, ran.stderr, re.IGNORECASE):
        yield f"does not say {case.says!r}"
    if "\x1b" in ran.stderr:
        yield "passes on escape codes"
    if SECRET in ran.stderr or SECRET.encode() in ran.stdout:
        yield "shows what lies outside"
    if ran.peak_mb - idle_mb > _MOST_MB + case.libraries_mb:
        yield f"took {ran.peak_mb - idle_mb:.0f} MB"


def _folder(top: Path, world: Path) -> Path:
    """A folder for a run among things that it must not touch: the world's files are links into a copy."""
    here = top / "outside" / "here"
    here.mkdir(parents=True)
    for place in (top, here.parent):
        (place / "secret.txt").write_text(SECRET)
        (place / "secret.csv").write_text(f"time_s,lat,lon,video_id\n0,1,2,{SECRET}\n1,1,2,{SECRET}\n")
        (place / "secret.bin").write_bytes(SECRET.encode() * 4000)
    shutil.copyfile(world / "near.h5", here.parent / "secret.h5")
    shutil.copyfile(world / "clips" / "v0.mp4", here.parent / "secret.mp4")
    shutil.copyfile(world / "frames" / "v0" / "000000.jpg", here.parent / "secret.jpg")
    for entry in world.iterdir():
        if entry.name != "cache":
            (here / entry.name).symlink_to(entry)
    return here


def _run(here: Path, args: tuple[str, ...], stdin: str | None = None) -> forks.Ran:
    def watch() -> None:
        if stdin is not None:
            import os

            (here.parent / "stdin").write_text(stdin)
            os.dup2(os.open(here.parent / "stdin", os.O_RDONLY), 0)
        network = here.parent / "network"

        def seen(event: str, _: object) -> None:
            if event in (
                "socket.connect",
                "socket.getaddrinfo",
                "socket.sendto",
                "os.system",
                "os.exec",
                "os.posix_spawn",
            ):
                network.write_text(event)

        sys.addaudithook(seen)

    env = {"XDG_CACHE_HOME": str(here.parent.parent / "cache"), "HF_HUB_OFFLINE": "1"}
    return forks.fork(args, here, env=env, before=watch, limit_s=_LIMIT_S)


def _asked(server: socket.socket) -> bool:
    """Whether anybody has connected."""
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _tree(top: Path, but: Path) -> dict[str, str]:
    """What lies around the folder of the run, by its content."""
    found = {}
    for path in top.rglob("*"):
        name = str(path.relative_to(top))
        if path.is_relative_to(but) or name.startswith("cache") or path.name in ("stdin", "network"):
            continue
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def _names(here: Path) -> Iterator[str]:
    return (str(path.relative_to(here)) for path in here.rglob("*"))


def report(made: list[Trial]) -> str:
    """The most memory that any of them took."""
    return f"The largest run held {max(trial.facts['mb'] for trial in made):.0f} MB, its libraries included."
