"""More situations, as in manners.py: folders that cannot be written or are gone, no home, no network, typing errors."""

import os
import re
import sys

import forks
import surroundings as around
from commandlines import TYPED, Workshop, command
from manners import differences, ends, one_line, reference, run, tree

NETWORKED = ("build-gallery", "label-scenes", "localize", "precompute-features", "train")


def read_only_output(shop: Workshop, name: str) -> list[str]:
    """A folder that cannot be written: 73 and one line, or no need of it."""
    folder = shop.place(name)
    folder.chmod(0o555)
    if not around.refuses_writing(folder):
        folder.chmod(0o755)
        return []  # nothing can be tried here
    folder.chmod(0o755)

    def before() -> None:
        folder.chmod(0o555)
        around.no_privileges()

    try:
        ran = run(shop, name, folder, before=before)
    finally:
        folder.chmod(0o755)
    return ends(ran, 73) + one_line(ran) if TYPED[name].writes else ends(ran, 0)


def read_only_input(shop: Workshop, name: str) -> list[str]:
    """Inputs on a read-only card: as if they could be written."""
    folder, stdout_files = shop.place(name), reference(shop, name)
    entries = [shop.here, *(path for path in shop.here.rglob("*") if not path.is_symlink())]
    modes = [(path, path.stat().st_mode) for path in entries]

    def before() -> None:
        for path, mode in modes:
            path.chmod(mode & 0o555)
        around.no_privileges()

    try:
        ran = run(shop, name, folder, before=before)
    finally:
        for path, mode in modes:
            path.chmod(mode)
    wrong = ends(ran, 0) + differences(tree(folder), stdout_files[1])
    return wrong + (["other data"] if ran.stdout != stdout_files[0] and command(name) != "doctor" else [])


def closed_streams(shop: Workshop, name: str) -> list[str]:
    """Closed stdin, stdout or stderr: the files are the same."""
    wrong = []
    for numbers in ((0,), (1,), (2,), (0, 1, 2)):
        folder = shop.place(name)
        ran = run(shop, name, folder, before=around.closed(*numbers))
        found = ends(ran, 0) + differences(tree(folder), reference(shop, name)[1])
        wrong += [f"{numbers} closed: {problem}" for problem in found]
    return wrong


def no_home(shop: Workshop, name: str) -> list[str]:
    """No HOME, no XDG folders, a TMPDIR that is not there."""
    folder = shop.place(name)
    unset = around.without(
        "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "USER", "LOGNAME", "PYTHONUTF8"
    )
    ran = run(shop, name, folder, before=unset, env={"TMPDIR": str(folder / "none")})
    return ends(ran, 0) + differences(tree(folder), reference(shop, name)[1])


def bare_shell(shop: Workshop, name: str) -> list[str]:
    """The real program in a C locale, in a folder with a name in another script."""
    wrong = []
    for env in ({"LC_ALL": "POSIX"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        folder = shop.place(name) / "Ünïcode 北京 é"
        folder.mkdir()
        for path in shop.here.iterdir():
            (folder / path.name).symlink_to(path)
        # Forks compute with one thread; with more, sums end otherwise in their last digit.
        words = [
            "env",
            "-i",
            f"PATH={os.environ['PATH']}",
            "OMP_NUM_THREADS=1",
            *(f"{name}={value}" for name, value in env.items()),
        ]
        ran = forks.shell([*words, sys.executable, "-m", "vgeo", *shop.words(name)], folder)
        found = ends(ran, 0)
        if TYPED[name].before is None:
            found += differences(tree(folder), reference(shop, name)[1])
        wrong += [f"{env}: {problem}" for problem in found]
    return wrong


def deleted_folder(shop: Workshop, name: str) -> list[str]:
    """A folder that was deleted under it: 66 and one line."""
    ran = run(shop, name, before=around.gone_folder)
    return ends(ran, 66) + one_line(ran)


def offline(shop: Workshop, name: str) -> list[str]:
    """No network: nothing is asked of it where only files are needed, nor with --offline."""
    if command(name) == "fetch-tiles":
        return []  # the network is what it is for
    notes = shop.here.parent / "network"
    notes.unlink(missing_ok=True)
    more = ("--offline",) if command(name) in NETWORKED else ()
    ran = run(shop, name, more=more, before=around.no_network(notes))
    asked = notes.read_text().splitlines()
    return ends(ran, 0) + ([f"asked: {asked[0]}"] if asked else [])


# --- what is typed wrong ---


def typed_wrong(shop: Workshop, name: str) -> list[str]:
    """Typed wrong: 2, one line that names the help, nothing on stdout."""
    words, wrong = shop.words(name), []
    lines = {
        "an unknown option": [*words, "--no-such-option"],
        "a misspelt option": [*words, "--hel"],
        "an option without a value": [words[0], *(["-o"] if "-o" in words else ["--no-such-option"])],
    }
    if command(name) in ("score-trajectory", "score-places", "score-rankings", "sample-clips", "fetch-tiles"):
        lines["no argument"] = [words[0]]
    for what, line in lines.items():
        ran = forks.fork(line, shop.place(name))
        found = ends(ran, 2) + one_line(ran)
        if "--help'" not in ran.stderr:
            found.append(f"names no help: {ran.stderr[-200:]!r}")
        wrong += [f"{what}: {problem}" for problem in found + (["data on stdout"] if ran.stdout else [])]
    return wrong


def typo(shop: Workshop, name: str) -> list[str]:
    """A misspelt command: 2, and the right one is named."""
    wanted = command(name)
    wrong = []
    for misspelt in (wanted[:-1], wanted + "s", wanted[1] + wanted[0] + wanted[2:], wanted.replace("-", "_") + "_"):
        ran = forks.fork([misspelt], shop.place(name))
        found = ends(ran, 2) + one_line(ran) + ([] if wanted in ran.stderr else [f"not named: {ran.stderr!r}"])
        wrong += [f"{misspelt}: {problem}" for problem in found]
    return wrong


def empty_folder(shop: Workshop, name: str) -> list[str]:
    """The bare command in an empty folder: one line that names the next step."""
    if command(name) in ("methods", "doctor", "demo"):
        return []
    folder = shop.here.parent / f"empty {command(name)}"
    folder.mkdir(exist_ok=True)
    ran = forks.fork([command(name)], folder)
    wrong = ends(ran, 2, 66) + one_line(ran)
    return wrong + ([] if re.search(r"vgeo |--\w|give |name ", ran.stderr[6:]) else [f"no next step: {ran.stderr!r}"])


SITUATIONS = (
    read_only_output, read_only_input, closed_streams, no_home, bare_shell, deleted_folder, offline, typed_wrong, typo,
    empty_folder,
)  # fmt: skip
