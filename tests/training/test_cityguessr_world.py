"""The pieces of the experiment on the procedural world: true scenes, the stand-in for text, the commands."""

from pathlib import Path

import cityguessr_world as experiment
import numpy as np
import pytest

from vgeo.formats.gallery import read_gallery
from vgeo.formats.scenes import read_scenes
from vgeo.stages.city_text import text_targets
from vgeo.world.clips import frames_of, plan_clips
from vgeo.world.world import World

SIZE = experiment.Size(cities=3, clips=6, val_share=0.5, seconds=9.0, frame_px=64, epochs=1)


def test_looks_are_seen_in_the_picture() -> None:
    """Frames with more trees have more green pixels, and more closed ones less of the sky's blue."""
    world = World(0, 3)
    plans = plan_clips(world, 6, 10.0, rate_hz=1.0, size=(96, 96))
    looks = np.concatenate([experiment.looks(world, plan) for plan in plans])
    frames = np.stack([frame for plan in plans for frame in frames_of(plan)]).astype(float)
    red, green, blue = np.moveaxis(frames, -1, 0)
    of_city = np.repeat(np.arange(6) % 3, 10)
    leaves = ((green > 1.15 * red) & (green > 1.15 * blue)).mean((1, 2))
    sky = (blue[:, :48] > 1.05 * red[:, :48]).mean((1, 2))
    for city in range(3):
        some = of_city == city
        assert np.corrcoef(looks[some, 1], leaves[some])[0, 1] > 0.4
        assert np.corrcoef(looks[some, 0], sky[some])[0, 1] < 0


def test_shares_by_hand() -> None:
    steps = np.array([[10.0, 20, 30], [1, 2, 3]])
    looks = np.array([[5.0, 0.5], [5, 0.5], [15, 3.5], [35, 1.5]])
    shares = experiment.shares(looks, steps)
    assert shares.tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0, 0, 0.25, 0, 0]


def test_names_that_share_letters_are_near() -> None:
    vectors = experiment.NameHash()(["Munich", "Bavaria", "Europe", "South America", "North America"]).double().numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[3] @ unit[4] > 0.5 and abs(unit[0] @ unit[1]) < 0.2 and vectors.shape == (5, 512)
    assert np.array_equal(experiment.NameHash()(["Munich"]).double().numpy()[0], vectors[0])


def test_every_row_is_trained_placed_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment.prepare(SIZE, 0, verbose=False)
    assert experiment.describe().startswith("3 drives to learn from, 3 held out; {'city': 3")
    scenes = read_scenes("scenes.csv")
    assert len(scenes) == 6 and all(abs(one.sum() - 1) < 1e-5 for one in scenes.values())
    gallery = read_gallery("cities.h5")
    assert text_targets(gallery, "all").shape == (3, 512) and len(gallery) == 3
    tiny = ("width=16", "layers=1", "heads=2", "mlp=16", "image_px=32")
    found = experiment.measure("all", SIZE, 0, more=tiny)
    assert len(found) == 4 and all(0 <= one <= 100 for one in found)
    assert len(experiment.measure("all", SIZE, 0, "none")) == 4  # the model is there
    assert Path("models/all-0/config.json").exists() and "text=all" in experiment.train_words("all", SIZE, 0, ())


def test_rows_differ_as_in_the_paper() -> None:
    assert [experiment.ROWS[key].settings for key in experiment.TABLE] == [
        (f"scenes={scenes}", f"text={text}")
        for scenes, text in (
            ("none", "none"), ("majority", "none"), ("soft", "none"), ("soft", "city"), ("soft", "all")
        )
    ]  # fmt: skip
    assert experiment.line("x", [[1.0, 2], [3, 2]]) == "| x | 2.0 ± 1.4 | 2.0 ± 0.0 |"
