"""What there is to localize, and which model does it when none is named."""

import os
from pathlib import Path

import pytest

from tests.training.worlds import write_features
from vgeo.errors import InputError
from vgeo.stages.localize_inputs import find_tasks
from vgeo.stages.localize_models import default_model


def test_only_the_clips_of_a_split(tmp_path: Path) -> None:
    names = [{"split": "train"}, {"split": "val"}, {"split": "val"}]
    write_features(tmp_path / "a.h5", {"x": 3, "y": 2, "z": 4}, labels=names)
    assert [task.video_id for task in find_tasks(tmp_path / "a.h5")] == ["x", "y", "z"]
    chosen = find_tasks(tmp_path / "a.h5", "val")
    assert [(task.video_id, task.video) for task in chosen] == [("y", 1), ("z", 2)]
    with pytest.raises(InputError, match="no clip of split test; it has train, val"):
        find_tasks(tmp_path / "a.h5", "test")
    write_features(tmp_path / "b.h5", {"x": 3})
    with pytest.raises(InputError, match="no labels of that kind"):
        find_tasks(tmp_path / "b.h5", "val")


def test_the_newest_model_here_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_model(None) is None  # GeoCLIP as released
    assert default_model("vidtag") == "vidtag"
    for age, name in ((20, "geoclip"), (10, "vidtag")):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
        when = 1_700_000_000 - age
        os.utime(tmp_path / "models" / name / "config.json", (when, when))
    assert default_model(None) == Path("models/vidtag")
    assert default_model("vidtag") == Path("models/vidtag")  # it has no released weights
    assert default_model("geoclip") == "geoclip"  # it has
    assert default_model("models/geoclip") == "models/geoclip"
