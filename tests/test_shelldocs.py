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
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", path], capture_output=True, text=True, check=False)
        assert done.stdout == "", done.stdout
