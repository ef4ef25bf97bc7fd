"""What a validation says of clips whose windows' probabilities are written down."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.worlds import spec
from vgeo.device import Compute
from vgeo.formats.features import FeatureFile, FeatureWriter
from vgeo.methods._cityguessr_config import CityGuessrConfig
from vgeo.methods.cityguessr import CityGuessr
from vgeo.training import evaluate_classes
from vgeo.training.data import Usable, usable_frames
from vgeo.training.evaluate_classes import ClassValidation, all_windows, validate_classes
from vgeo.training.store import FeatureStore

CPU = Compute(torch.device("cpu"), torch.float32)
CITIES, COUNTRIES = 7, 2
UP = torch.tensor([0, 0, 0, 0, 0, 0, 1])  # the last city is alone in its country
LEVELS = ("city", "country")


def reader(rows: int = 1, evaluation: str = "independent", multiply: bool = False) -> CityGuessr:
    """Heads whose logits are the features."""
    width = CITIES + COUNTRIES
    config = CityGuessrConfig(
        backbone="features", init="scratch", encoder="gist", feature_dim=width, rows=rows, scenes="none", text="none",
        classes=(CITIES, COUNTRIES), standardize=False, windows="windows", multiply=multiply,
        evaluation="codependent" if evaluation == "codependent" else "independent",
    )  # fmt: skip
    method = CityGuessr(config)
    with torch.no_grad():
        for head, first in zip(method.heads, (0, CITIES), strict=True):
            head.weight.copy_(torch.eye(width)[first : first + len(head.weight)])
            head.bias.zero_()
    method.adopt((UP,))
    return method


def store(folder: Path, clips: list[list[list[float]]], rows: int = 1) -> FeatureStore:
    """Clips of rows of features."""
    width = CITIES + COUNTRIES
    folder = folder / str(len(clips))
    with FeatureWriter(folder / "f.h5", {"gist": spec(dim=width)}, "1 Hz", "pyav") as writer:
        for number, features in enumerate(clips):
            nowhere = np.full((len(features), 2), np.nan)
            writer.add(f"v{number}", {"gist": np.array(features)}, np.arange(len(features)), nowhere)
        writer.finish([f"v{number}" for number in range(len(clips))])
    file = FeatureFile.open(folder / "f.h5")
    every = Usable(lambda one: np.ones(len(one.latlon_deg), bool), "is there", "-")
    return FeatureStore([file], usable_frames([file], every), ["gist"], CPU)


def row(cities: list[float], countries: list[float]) -> list[float]:
    """Features of which these probabilities come."""
    return [math.log(p) for p in (*cities, *countries)]


# The seven cities' probabilities fall, so that city c is the c-th best.
FALLING = [0.3, 0.2, 0.16, 0.12, 0.1, 0.07, 0.05]
CLIPS = [[row(FALLING, [0.3, 0.7])]] * 4
TRUTH = np.array([[0, 0], [4, 0], [5, 1], [6, 1]])


def test_top_1_and_top_5_of_each_level(tmp_path: Path) -> None:
    """Of the four clips the first is right, the second's city is the fifth best; the last two's country is right."""
    found = validate_classes(reader(), store(tmp_path, CLIPS), TRUTH, LEVELS, CPU)
    assert found.accuracy == {"city": 0.25, "country": 0.5}
    assert found.top5 == {"city": 0.5, "country": 1.0}
    assert found.clips == 4
    assert found.loss == pytest.approx(-sum(math.log(FALLING[c]) for c in (0, 4, 5, 6)) / 4, rel=1e-3)


def test_codependent_the_country_is_the_best_citys(tmp_path: Path) -> None:
    found = validate_classes(reader(evaluation="codependent"), store(tmp_path, CLIPS), TRUTH, LEVELS, CPU)
    assert found.accuracy == {"city": 0.25, "country": 0.5}, "city 0 lies in country 0: the first two are right"
    product = reader(evaluation="codependent", multiply=True)
    last = [row([0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2], [0.2, 0.8])]  # 0.3 * 0.2 < 0.2 * 0.8
    found = validate_classes(product, store(tmp_path, [last]), np.array([[6, 1]]), LEVELS, CPU)
    assert found.accuracy == {"city": 1.0, "country": 1.0}


def test_what_is_not_known_does_not_count(tmp_path: Path) -> None:
    truth = np.array([[0, -1], [-1, -1], [5, -1], [-1, -1]])
    found = validate_classes(reader(), store(tmp_path, CLIPS), truth, LEVELS, CPU)
    assert found.accuracy == {"city": 0.5} and found.top5 == {"city": 0.5}
    assert found.loss == pytest.approx(-(math.log(0.3) + math.log(0.07)) / 2, rel=1e-3)


@pytest.mark.parametrize("at_a_time", [1, 2, 64])
def test_windows_of_a_clip_are_averaged_whatever_the_batch(
    tmp_path: Path, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clip 0: city 1 in the mean of three windows, though two say 0. Clip 1 has one window, of city 0."""
    monkeypatch.setattr(evaluate_classes, "_WINDOWS", at_a_time)
    little = [0.001 / 5] * 5
    unsure, sure = row([0.5, 0.499, *little], [0.5, 0.5]), row([0.1, 0.899, *little], [0.5, 0.5])
    data = store(tmp_path, [[unsure, sure, unsure], [unsure]])
    found = validate_classes(reader(), data, np.array([[1, 0], [0, 0]]), LEVELS, CPU)
    assert found.accuracy["city"] == 1.0
    mean = (0.499 + 0.899 + 0.499) / 3
    assert found.loss == pytest.approx(-(math.log(mean) + math.log(0.5)) / 2, rel=1e-3)


def test_the_windows_are_those_of_the_method(tmp_path: Path) -> None:
    """Three frames in windows of two; one frame fills its window, and counts once."""
    rows = [[float(i)] * (CITIES + COUNTRIES) for i in range(4)]
    method = reader(rows=2)
    pieces = list(all_windows(method, store(tmp_path, [rows[:3], rows[3:]])))
    frames, mask, owners = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    assert frames.tolist() == [[0, 1], [1, 2], [3, 3]] and owners.tolist() == [0, 0, 1]
    assert mask.tolist() == [[True, True], [True, True], [True, False]]


def test_a_random_frame_is_the_one_that_localize_looks_at(tmp_path: Path) -> None:
    """It is always the same of a clip of this name."""
    shape = {"image_px": 32, "width": 16, "layers": 1, "heads": 2, "mlp": 16}
    method = CityGuessr(CityGuessrConfig(backbone="mae", init="scratch", **shape))  # type: ignore[arg-type]
    rows = [[0.0] * (CITIES + COUNTRIES)] * 9
    frames = torch.cat([frame for frame, *_ in all_windows(method, store(tmp_path, [rows] * 6))])
    expected = [9 * clip + int(method.windows.rows(9, f"v{clip}")[0, 0]) for clip in range(6)]
    assert frames[:, 0].tolist() == expected and len({frame % 9 for frame in expected}) > 2


def test_training_goes_on_as_if_nothing_were_measured(tmp_path: Path) -> None:
    method = reader().train()
    state = torch.get_rng_state()
    found = validate_classes(method, store(tmp_path, CLIPS), TRUTH, LEVELS, CPU)
    assert isinstance(found, ClassValidation)
    assert method.training and torch.equal(torch.get_rng_state(), state)
