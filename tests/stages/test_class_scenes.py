"""Which table of scenes is taken where none is named."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vgeo.errors import InputError
from vgeo.formats.scenes import GROUPS, ClipScenes, write_scenes
from vgeo.stages.class_data import _scenes


def table(path: Path, *clips: str, group: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    shares = np.eye(len(GROUPS))[group]
    write_scenes(path, [ClipScenes(video_id=clip, frames=4, shares=shares) for clip in clips])
    return path


def scenes(named: Path | None = None, **values: Any) -> tuple[np.ndarray | None, dict[str, Any]]:
    asked: Any = SimpleNamespace(scenes=named, source=None)
    files: Any = [SimpleNamespace(path=Path("mine"), video_ids=["a", "b"])]
    return _scenes(asked, files, values), values


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_that_beside_the_clips_is_taken_first() -> None:
    table(Path("frames/scenes.csv"), "a", "b", group=1)
    table(Path("mine/scenes.csv"), "a", group=2)
    found, values = scenes()
    assert found is not None and found.argmax(1).tolist() == [2, 0] and found.sum(1).tolist() == [1, 0]
    assert "scenes" not in values


def test_that_of_other_clips_is_not() -> None:
    table(Path("frames/scenes.csv"), "x", "y")
    found, values = scenes()
    assert found is None and values["scenes"] == "none"
    with pytest.raises(InputError, match=r"--set scenes=soft: no scenes.csv of these clips"):
        scenes(scenes="soft")
    table(Path("scenes.csv"), "b", group=3)
    found, _ = scenes()
    assert found is not None and found[1].argmax() == 3


def test_a_named_one_has_to_fit() -> None:
    with pytest.raises(InputError, match="names none of the clips"):
        scenes(table(Path("other.csv"), "x"))
