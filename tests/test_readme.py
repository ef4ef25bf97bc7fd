"""The README cannot go stale: its commands exist, and continuous integration runs its test command."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from vgeo.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def shell_lines() -> list[str]:
    """Lines of the README's sh blocks, with continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def vgeo_calls() -> list[list[str]]:
    """Every `vgeo ...` of those lines, as words; pipes split."""
    calls = []
    for line in shell_lines():
        for part in re.split(r"\s\|\s|&&|\|\|", line):
            words = shlex.split(part, comments=True)
            if words and Path(words[0]).name == "vgeo":
                calls.append(words[1:])
    return calls


def test_every_command_and_option_of_the_readme_exists() -> None:
    group: Any = typer.main.get_command(app)
    calls = vgeo_calls()
    assert len(calls) > 8
    for words in calls:
        command = group.commands.get(words[0]) if not words[0].startswith("-") else group
        assert command is not None, words
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words[1:]:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in known | {"-v", "-q", "--help"}, (words, word)


def test_every_subcommand_is_in_the_readme() -> None:
    group: Any = typer.main.get_command(app)
    for name in group.commands:
        assert f"vgeo {name}" in README, name


def test_ci_runs_the_readme_test_command() -> None:
    commands = [line for line in shell_lines() if "pytest" in line]
    assert len(commands) == 1
    assert commands[0].replace("pip install -e", "pip install -q -e") in (ROOT / ".ci" / "run").read_text()


def test_files_that_the_readme_shows_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
