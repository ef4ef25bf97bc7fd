"""Running the command line many times a second: each run is a fork of this process, which has imported everything.

A fork starts in milliseconds where `vgeo` takes a second to import torch; it has its own folder, environment, limits
and streams, and can be killed without harm. Nothing here may use torch before it forks: its threads do not survive.
Where imports, limits of memory or the shell are what is tried, use `shell`, which starts the real program.
"""

import importlib
import os
import resource
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PRELOADED = (
    "numpy", "h5py", "av", "torch", "PIL.Image", "safetensors.numpy", "shapely", "gpxpy", "vgeo.cli",
    "vgeo.stages.extract_frames", "vgeo.stages.precompute_features", "vgeo.stages.build_gallery", "vgeo.stages.train",
    "vgeo.stages.localize_files", "vgeo.stages.score_trajectory", "vgeo.encoders.gist", "vgeo.methods.geoclip",
    "vgeo.methods.vidtag", "vgeo.methods.nearest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended. code: the exit code, -N after signal N, None where it took longer than it was given."""

    code: int | None
    stdout: bytes
    stderr: str
    seconds: float
    peak_mb: float

    @property
    def traceback(self) -> bool:
        """A user never sees one."""
        return "Traceback (most recent call last)" in self.stderr


def preload() -> None:
    """Import what runs need, once."""
    for name in PRELOADED:
        importlib.import_module(name)


def fork(
    args: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    meanwhile: Callable[[int], None] | None = None,
    limit_s: float = 60.0,
) -> Ran:
    """Run `vgeo ARGS` in `folder` in a fork.

    before: called in the fork first, to set limits or to break something on purpose. meanwhile: called here with the
    fork's number as soon as it runs, to kill it. The fork leads a process group, which is killed whole at the end.
    """
    preload()
    out, err = folder / ".stdout", folder / ".stderr"
    for path in (out, err):  # there, however early the fork is killed
        path.touch()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(args, folder, out, err, env or {}, before)
    try:
        if meanwhile is not None:
            meanwhile(child)
        code, usage = _wait(child, start + limit_s)
    finally:
        _kill_group(child)
    ran = Ran(code, out.read_bytes(), err.read_text(errors="replace"), time.monotonic() - start, usage.ru_maxrss / 1024)
    out.unlink()
    err.unlink()
    return ran


def shell(
    command: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    limit_s: float = 120.0,
    stdin: bytes | None = None,
    before: Callable[[], None] | None = None,
    meanwhile: Callable[[int], None] | None = None,
) -> Ran:
    """Run a program for real; `vgeo` as the first word is the installed one. before, meanwhile: as of `fork`."""
    words = [sys.executable, "-m", "vgeo", *command[1:]] if command[0] == "vgeo" else list(command)
    start = time.monotonic()
    process = subprocess.Popen(
        words, cwd=folder, env={**os.environ, **(env or {})}, stdin=subprocess.PIPE if stdin is not None else
        subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=before,  # noqa: PLW1509  # no threads run in a campaign
    )  # fmt: skip
    code: int | None
    try:
        if meanwhile is not None:
            meanwhile(process.pid)
        stdout, stderr = process.communicate(stdin, timeout=limit_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        _kill_group(process.pid)
        stdout, stderr = process.communicate()
        code = None
    _kill_group(process.pid)
    return Ran(code, stdout, stderr.decode(errors="replace"), time.monotonic() - start, 0.0)


def _become(
    args: Sequence[str],
    folder: Path,
    out: Path,
    err: Path,
    env: Mapping[str, str],
    before: Callable[[], None] | None,
) -> None:
    """Turn this fork into a run of `vgeo`; does not return."""
    code = 70
    try:
        for made_before in weakref.finalize._registry.values():  # type: ignore[attr-defined]
            made_before.atexit = False  # temporary folders are not the fork's to remove
        os.setsid()
        os.chdir(folder)
        os.environ.update(env)
        for number, path in ((1, out), (2, err)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
            os.close(handle)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as vgeo.__main__ has it
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # open as long as the fork lives
            for number, mode in ((0, "r"), (1, "w"), (2, "w"))
        )
        sys.argv = ["vgeo", *args]
        import torch

        torch.set_num_threads(1)
        if before is not None:
            before()
        from vgeo.cli import main

        main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            import atexit

            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            code = 120  # what Python itself ends with then
        finally:
            os._exit(code)


def _wait(child: int, deadline: float) -> tuple[int | None, resource.struct_rusage]:
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > deadline:
            _kill_group(child)
            _, _, usage = os.wait4(child, 0)
            return None, usage
        time.sleep(0.002)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
