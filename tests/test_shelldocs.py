"""completions/ and man/ are what the program says today."""

import subprocess
from pathlib import Path
from shutil import which

import pytest
import typer

from vgeo import shelldocs
from vgeo.cli import app

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("folder", ["completions", "man"])
def test_generated_files_are_current(folder: str) -> None:
    expected = shelldocs.completions() if folder == "completions" else shelldocs.man_pages()
    found = {path.name: path.read_text() for path in (ROOT / folder).iterdir()}
    assert found == expected, "run: python -m vgeo.shelldocs"


def test_man_pages_name_every_option() -> None:
    group = typer.main.get_command(app)
    pages = shelldocs.man_pages()
    for name, command in group.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                for option in parameter.opts:
                    assert option.replace("-", "\\-") in pages[f"vgeo-{name}.1"], (name, option)


@pytest.mark.skipif(which("mandoc") is None, reason="mandoc is not installed")
def test_man_pages_pass_mandoc() -> None:
    for path in sorted((ROOT / "man").iterdir()):
        done = subprocess.run(["mandoc", "-Tlint", path], capture_output=True, text=True, check=False)
        assert done.stdout == "", done.stdout


def test_zsh_completes_at_the_first_tab() -> None:
    """The script is a function of the name _vgeo that zsh loads then: it has to do more than define another one."""
    assert shelldocs.completions()["_vgeo"].rstrip().endswith("_vgeo_completion\nfi")


def test_lines_of_a_page_begin_with_no_request() -> None:
    filled = shelldocs._fill(" ".join(["word"] * 15 + [".txt", "'quoted'"] * 20))
    assert all(len(line) <= 80 and line[0] not in ".'" for line in filled.splitlines())
    assert " ".join(filled.replace("\\&", "").splitlines()) == " ".join(["word"] * 15 + [".txt", "'quoted'"] * 20)
