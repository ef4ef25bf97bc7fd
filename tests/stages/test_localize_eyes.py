"""Videos are sampled as a model's training frames were, unless somebody says otherwise."""

from pathlib import Path

import pytest

from vgeo.formats.checkpoints import save_model
from vgeo.methods.cityguessr import CityGuessr
from vgeo.methods.settings import to_dict
from vgeo.stages.localize_eyes import as_trained
from vgeo.stages.localize_inputs import Task
from vgeo.stages.models import Model, load_model
from vgeo.video.clips import Clip
from vgeo.video.sampling import Sampling


def model(tmp_path: Path, **extra: float) -> Model:
    made = CityGuessr(CityGuessr.debug_config())
    save_model(
        tmp_path / "m", method="cityguessr", config=to_dict(made.config), encoders={}, state=made.state_dict(),
        extra=extra,
    )  # fmt: skip
    return load_model(tmp_path / "m")


VIDEO = Task("v.mp4", "v", clip=Clip("v", Path("v.mp4"), "video"))
FRAMES = Task("frames:f", "f", clip=Clip("f", Path("frames/frames.jsonl"), "frames"))


def test_the_rate_is_the_trained_one(tmp_path: Path) -> None:
    found = model(tmp_path, rate_hz=2.5)
    assert found.rate_hz == 2.5
    assert as_trained(Sampling(end_s=9.0), found, [VIDEO]) == Sampling(rate_hz=2.5, end_s=9.0)
    chosen = Sampling(count=16)
    assert as_trained(chosen, found, [VIDEO]) == chosen
    for tasks in ([FRAMES], [VIDEO, FRAMES], []):  # frames were chosen by somebody before, and are taken whole
        assert as_trained(Sampling(), found, tasks) == Sampling()


def test_of_one_a_second_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert as_trained(Sampling(), model(tmp_path, rate_hz=1.0), [VIDEO]) == Sampling()
    assert "as it was trained on" not in caplog.text
    as_trained(Sampling(), model(tmp_path / "2", rate_hz=2.0), [VIDEO])
    assert "2 frames a second, as it was trained on" in caplog.text


@pytest.mark.parametrize("rate", [{}, {"rate_hz": -1.0}, {"rate_hz": 0.0}])
def test_where_nobody_says_a_rate_it_stays_as_it_is(tmp_path: Path, rate: dict[str, float]) -> None:
    found = model(tmp_path, **rate)
    assert found.rate_hz is None
    assert as_trained(Sampling(), found, [VIDEO]) == Sampling()
