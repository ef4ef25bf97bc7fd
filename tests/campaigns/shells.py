"""Completion in bash, zsh and fish themselves, with the scripts of completions/ and the program that they ask.

bash: the function that `complete -F` names is called as bash calls it, and `-o default` is taken at its word. zsh: a
real one in a terminal of its own, where Tab is pressed. fish: `complete -C`.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {"bash": "vgeo.bash", "zsh": "_vgeo", "fish": "vgeo.fish"}
FILES = ("gallery one.h5", "film.mp4", "tracks.geojson")
VALUES = {
    "localize --method geo": ["geoclip"],
    "precompute-features -e gi": ["gist"],
    "precompute-features --encoder torchv": ["torchvision"],
    "train --device cp": ["cpu"],
    "extract-frames --layout ms": ["msls"],
    "localize --format geojs": ["geojson", "geojsonl"],
    "build-gallery gr": ["grid"],
    "methods vid": ["vidtag"],
}


def TRIALS(commands: list[str], scratch: Path) -> Iterator[tuple[str, str, Callable[[], list[str]]]]:  # noqa: N802
    """Name, kind and attempt of each, for the shells that are installed."""
    home = scratch / "shells"
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "vgeo"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m vgeo \"$@\"\n")
    program.chmod(0o755)
    for name in FILES:
        (home / name).touch()
    for shell in SCRIPTS:
        if shutil.which(shell) is None:
            continue
        kind = f"completion in {shell}"
        # What a unique prefix stands for, and what several could.
        yield "commands", kind, _asks(shell, home, "", commands)
        for command in commands:
            yield f"{command}: its name", kind, _asks(shell, home, command[:-2], [command])
            yield f"{command}: its options", kind, _asks(shell, home, f"{command} --", _options(command))
        for typed, wanted in VALUES.items():
            if typed.split(" ")[0] in commands:
                yield typed, kind, _asks(shell, home, typed, wanted)
        yield "a file as an argument", kind, _asks(shell, home, "localize fil", ["film.mp4"])
        yield "a file as an option's value", kind, _asks(shell, home, "localize --track tra", ["tracks.geojson"])
        yield "a file with a space", kind, _asks(shell, home, "localize --gallery gal", ["gallery one.h5"])


def _options(command: str) -> list[str]:
    import typer

    from vgeo.cli import app

    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    return [option for one in parameters for option in one.opts if option.startswith("--")]


def _asks(shell: str, home: Path, typed: str, wanted: list[str]) -> Callable[[], list[str]]:
    def attempt() -> list[str]:
        found = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](home, f"vgeo {typed}")
        missing = [word for word in wanted if word not in found]
        wrong = [f"{', '.join(missing[:4])} not among {sorted(found)[:8]}"] if missing else []
        begun = typed.rsplit(" ", maxsplit=1)[-1] if typed else ""
        strange = [word for word in found if not word.startswith(begun)]
        return wrong + ([f"{strange[0]!r} does not begin with {begun!r}"] if strange else [])

    return attempt


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "TERM": "xterm", **kept}


def _shell(home: Path, words: list[str]) -> str:
    done = subprocess.run(
        words, cwd=home, env=_environment(home), capture_output=True, text=True, check=False, timeout=60
    )
    if done.stderr.strip():
        raise RuntimeError(f"{words[0]} says {done.stderr.strip()[:300]}")
    return done.stdout


_BASH = r"""
source "$1"
line="$2"
read -ra COMP_WORDS <<< "$line"
[[ $line == *' ' ]] && COMP_WORDS+=('')
COMP_LINE="$line" COMP_POINT=${#line} COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
function=$(complete -p vgeo | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" vgeo "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
if [[ ${#COMPREPLY[@]} == 0 && $(complete -p vgeo) == *'-o default'* ]]; then
    compgen -f -- "${COMP_WORDS[COMP_CWORD]}"
fi
"""


def _bash(home: Path, line: str) -> set[str]:
    script = str(ROOT / "completions" / SCRIPTS["bash"])
    return {word for word in _shell(home, ["bash", "--norc", "-c", _BASH, "bash", script, line]).splitlines() if word}


def _fish(home: Path, line: str) -> set[str]:
    script = ROOT / "completions" / SCRIPTS["fish"]
    said = _shell(home, ["fish", "--no-config", "-c", f"source '{script}'; complete -C '{line}'"])
    return {row.split("\t")[0] for row in said.splitlines()}


# zsh completes only in its line editor: one runs in a terminal of its own, Tab is pressed, `compadd` noted.
_ZSH_INSIDE = r"""
PROMPT=
fpath=($VGEO_SCRIPTS $fpath)
autoload -Uz compinit; compinit -u -D
bindkey '^I' complete-word
zstyle ':completion:*' insert-tab false
finish() { print -r -- DONE >> $VGEO_NOTES; exit }
comppostfuncs=(finish)
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return $?; fi
    typeset -a __hits
    builtin compadd -A __hits "$@"
    (( $#__hits )) && print -rl -- BEGIN-HITS "${__hits[@]}" END-HITS >> $VGEO_NOTES
    builtin compadd "$@"
}
print -r -- READY >> $VGEO_NOTES
"""
_ZSH_OUTSIDE = r"""
zmodload zsh/zpty
wait_for() {
    repeat 400; do
        zpty -r -t shell line >/dev/null 2>&1
        grep -q "^$1" $VGEO_NOTES 2>/dev/null && return
        sleep 0.05
    done
}
zpty shell zsh -f -i
zpty -w shell "source $1"
wait_for READY
zpty -w -n shell "$2"$'\t'
wait_for DONE
zpty -d shell
"""


def _zsh(home: Path, line: str) -> set[str]:
    notes, inside = home / f".notes-{time.monotonic_ns()}", home / ".inside.zsh"
    inside.write_text(_ZSH_INSIDE)
    env = {"VGEO_NOTES": str(notes), "VGEO_SCRIPTS": str(ROOT / "completions")}
    _shell(
        home, ["env", *(f"{k}={v}" for k, v in env.items()), "zsh", "-f", "-c", _ZSH_OUTSIDE, "zsh", str(inside), line]
    )
    text = notes.read_text() if notes.exists() else ""
    notes.unlink(missing_ok=True)
    blocks = re.findall(r"^BEGIN-HITS\n(.*?)^END-HITS$", text, re.M | re.S)
    return {re.sub(r"\\(.)", r"\1", word) for block in blocks for word in block.splitlines() if word}
