"""Which of the models that were trained here localizes."""

import os
from pathlib import Path

import pytest

from vgeo.stages.localize_models import default_model


@pytest.fixture(autouse=True)
def _trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """geoclip, then gama, then screening."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("geoclip", "gama", "screening")):
        config = Path("models", name, "config.json")
        config.parent.mkdir(parents=True)
        config.write_text("{}")
        os.utime(config, (1e9 + age, 1e9 + age))


def test_the_newest_that_says_where_clips_are() -> None:
    """A screening network, which is trained last, only says where to look."""
    assert default_model(None) == Path("models/gama")


def test_a_method_is_its_model_here_unless_it_has_released_weights() -> None:
    assert default_model("gama") == Path("models/gama")
    assert default_model("geoclip") == "geoclip"
    assert default_model("cityguessr") == "cityguessr" and default_model("some/folder") == "some/folder"
