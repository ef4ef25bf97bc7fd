"""What the program says of itself: --help of each command, its man page, the README, the files for shells."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forks

ROOT = Path(__file__).resolve().parents[2]
_PROBE = """
import sys
from vgeo.cli import run
run(sys.argv[1:])
print([name for name in ("torch", "numpy") if name in sys.modules])
"""
Told = tuple[str, str, Callable[[], list[str]]]


def TRIALS(commands: list[str], scratch: Path) -> Iterator[Told]:  # noqa: N802  # beside SITUATIONS
    """Name, kind and attempt of each."""
    (scratch / "pages").mkdir()
    kinds: dict[str, Callable[[str, Path], list[str]]] = {
        "--help in 80 columns: every option, no colors, nothing heavy": helps,
        "--help in 40 columns": narrow,
        "--help under CI variables: no colors in a pipe": colorless,
        "the man page passes mandoc's lint": lints,
        "the man page names every option and every argument": names_all,
        "the README names it": in_readme,
    }
    for kind, attempt in kinds.items():
        for name in ["", *commands]:
            yield name or "vgeo", kind, lambda name=name, attempt=attempt: attempt(name, scratch / "pages")
    yield "completions", "completions and man pages are those of the program", lambda: generated("completions")
    yield "man", "completions and man pages are those of the program", lambda: generated("man")


def _help(name: str, folder: Path, **env: str) -> forks.Ran:
    plain = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "PYTHONPATH")}
    words = [f"{key}={value}" for key, value in {**plain, **env}.items()]
    return forks.shell(["env", "-i", *words, sys.executable, "-m", "vgeo", *name.split(), "--help"], folder)


def _parameters(name: str) -> list[Any]:
    import typer

    from vgeo.cli import app

    group: Any = typer.main.get_command(app)
    return list((group.commands[name] if name else group).params)


def helps(name: str, folder: Path) -> list[str]:
    """All of it, in 80 columns."""
    ran = _help(name, folder, COLUMNS="80")
    text = ran.stdout.decode()
    wrong = [] if ran.code == 0 and not ran.stderr else [f"ends with {ran.code}: {ran.stderr[-200:]}"]
    wrong += [f"a line of {len(line)}: {line}" for line in text.splitlines() if len(line) > 80]
    options = [option for one in _parameters(name) if one.param_type_name == "option" for option in one.opts]
    said = re.sub(r"[\s│]+", " ", text)
    wrong += [f"{option} is not in it" for option in options if not re.search(rf"(?<!\S){option}(?![\w-])", said)]
    loaded = forks.shell([sys.executable, "-c", _PROBE, *name.split(), "--help"], folder).stdout.splitlines()[-1]
    return wrong + ([f"loads {loaded.decode()}"] if loaded != b"[]" else []) + (["colors"] if "\x1b" in text else [])


def narrow(name: str, folder: Path) -> list[str]:
    """No line is longer than the terminal is wide."""
    ran = _help(name, folder, COLUMNS="40")
    long = [line for line in ran.stdout.decode().splitlines() if len(line) > 40]
    return ([] if ran.code == 0 else [f"ends with {ran.code}"]) + [f"a line of {len(line)}: {line}" for line in long]


def colorless(name: str, folder: Path) -> list[str]:
    """CI systems set these; asked for by FORCE_COLOR, colors come, as with typer and rich."""
    wrong = []
    for env in ({"CI": "true"}, {"GITHUB_ACTIONS": "true"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "xterm"}):
        ran = _help(name, folder, **env)
        wrong += [f"colors with {env}"] if b"\x1b" in ran.stdout or "\x1b" in ran.stderr else []
    return wrong


def _page(name: str) -> Path:
    return ROOT / "man" / (f"vgeo-{name}.1" if name else "vgeo.1")


def lints(name: str, folder: Path) -> list[str]:
    """All that mandoc has to say, styles too, but for what goes by the base system's books."""
    if shutil.which("mandoc") is None:
        return []
    done = subprocess.run(["mandoc", "-Tlint", _page(name)], capture_output=True, text=True, check=False)
    return [line.removeprefix("mandoc: ") for line in (done.stdout + done.stderr).splitlines()]


def names_all(name: str, folder: Path) -> list[str]:
    """As a reader sees the page, not as it is written."""
    if shutil.which("mandoc") is None:
        text = _page(name).read_text().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
    else:
        shown = subprocess.run(["mandoc", "-Tascii", "-Owidth=400", _page(name)], capture_output=True, check=True)
        text = re.sub(r".\x08", "", shown.stdout.decode())
    wanted = [option for one in _parameters(name) if one.param_type_name == "option" for option in one.opts]
    return [f"{option} is not in it" for option in wanted if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)]


def in_readme(name: str, folder: Path) -> list[str]:
    """As it is typed."""
    text = (ROOT / "README.md").read_text()
    return [] if f"vgeo {name}".strip() in text or f"`{name}`" in text else ["it does not"]


def generated(folder: str) -> list[str]:
    """The files in the repository, against new ones."""
    from vgeo import shelldocs

    expected = shelldocs.completions() if folder == "completions" else shelldocs.man_pages()
    found = {path.name: path.read_text() for path in (ROOT / folder).iterdir()}
    return [f"{name} is old" for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
