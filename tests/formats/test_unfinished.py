"""Files that are not finished: what a killed process left is taken over, what another one writes is left alone."""

import os
import signal
from pathlib import Path

import pytest

from vgeo.formats import unfinished
from vgeo.formats.streams import atomic_write, write_output


def killed_while_writing(path: Path) -> None:
    child = os.fork()
    if child == 0:
        with atomic_write(path) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["f.json", "n" * 255, "é" * 127])
def test_what_a_killed_process_left_is_gone_after_the_next_one(name: str, tmp_path: Path) -> None:
    killed_while_writing(tmp_path / name)
    assert len(names(tmp_path)) == 1 and names(tmp_path) != [name]
    killed_while_writing(tmp_path / name)
    assert len(names(tmp_path)) == 1
    write_output(tmp_path / name, "whole")
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "whole"


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "f") as first, atomic_write(tmp_path / "f") as second:
        first.write(b"first")
        second.write(b"second")
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == ["f"] and (tmp_path / "f").read_text() == "first", "it ended last"


def test_what_is_no_file_of_ours_stays_as_it_is(tmp_path: Path) -> None:
    """Somebody's link under that name is neither followed nor removed."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".f.partial").symlink_to(tmp_path / "mine")
    write_output(tmp_path / "f", "new")
    assert (tmp_path / "mine").read_text() == "mine" and (tmp_path / "f").read_text() == "new"
    (tmp_path / ".g.partial").mkdir()
    write_output(tmp_path / "g", "new")
    assert names(tmp_path) == [".f.partial", ".g.partial", "f", "g", "mine"]


def test_other_names_of_a_left_file_keep_its_content(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    os.link(tmp_path / "mine", tmp_path / ".f.partial")
    write_output(tmp_path / "f", "new")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("in_one_step", [True, False])
def test_exchange(in_one_step: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not in_one_step:
        monkeypatch.setattr(unfinished, "swap", lambda new, old: False)
    unfinished.exchange(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["new", "old"]
    assert names(tmp_path / "new") == ["old"] and names(tmp_path / "old") == ["new"]
