"""`vgeo train --method cityguessr` on frames, from weights in a folder; then what the model says of a clip."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vgeo.cli import run
from vgeo.methods._backbones import Family
from vgeo.stages.backbones import released_backbone

PLACES = {"Stuttgart": ("Baden-Wuerttemberg", "Germany", "Europe"), "Singapore": ("Singapore", "Singapore", "Asia")}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 16 pictures of noise, labelled with two cities."""
    folder, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = []
    for number in range(6):
        city = list(PLACES)[number % 2]
        rows.append([f"clip{number}", city, *PLACES[city]])
        (folder / "frames" / f"clip{number}").mkdir(parents=True)
        for frame in range(16):
            image = Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8))
            image.save(folder / "frames" / f"clip{number}" / f"{frame:03d}.png")
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["video_id", "city", "state", "country", "continent"], *rows])
    return folder


def weights(family: Family, folder: Path) -> Path:
    import transformers as hf

    sizes: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes["image_size"] = 32
    torch.manual_seed(5)  # not that of the run, which would draw the same
    models: dict[Family, Any] = {
        "videomae": lambda: hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**sizes)),
        "timesformer": lambda: hf.TimesformerForVideoClassification(hf.TimesformerConfig(**sizes)),
        "mae": lambda: hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**sizes)),
    }
    models[family]().save_pretrained(folder / "weights")
    return folder / "weights"


def train(clips: Path, out: Path, *more: str) -> int:
    plain = [f"--set={pair}" for pair in ("scenes=none", "text=none", "epochs=1", "batch_clips=2")]
    fixed = ["--labels", str(clips / "labels.csv"), "--device", "cpu", "--precision", "fp32", "--offline"]
    return run(["train", str(clips / "frames"), "--method", "cityguessr", *fixed, "--out", str(out), *plain, *more])


@pytest.mark.parametrize("family", ["videomae", "timesformer", "mae"])
def test_starts_from_the_weights_and_answers(
    clips: Path, tmp_path: Path, family: Family, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a rate of next to nothing the model ends where it started, in a shape that was nowhere typed."""
    folder = weights(family, tmp_path)
    more = [f"--set=backbone={family}", "--weights", str(folder), "--set=learning_rate=1e-12"]
    assert train(clips, tmp_path / "model", *more, "--set=flip=0.5", "--set=crop=0.8") == 0
    kept = load_file(tmp_path / "model" / "model.safetensors")
    start = released_backbone(family, weights=str(folder)).tensors
    assert {name for name in kept if name.startswith("backbone.")} == {f"backbone.{name}" for name in start}
    for name, value in start.items():
        torch.testing.assert_close(kept[f"backbone.{name}"], value, rtol=0, atol=1e-9)
    capfd.readouterr()
    assert (
        run(["localize", str(clips / "frames" / "clip1"), "--model", str(tmp_path / "model"), "--device", "cpu"]) == 0
    )
    track = json.loads(capfd.readouterr().out)["features"][0]["properties"]
    assert {vote["city"] for vote in track["place_votes"]["city"]} == set(PLACES)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--set=frames=15"], 78, "takes windows of 16 frames and no others; --set frames=16, or train from scratch"),
        (["--set=init=scratch", "--set=frames=15"], 78, "frames must be a multiple of that, not 15"),
        (["--set=backbone=timesformer"], 65, "another family"),
    ],
)
def test_weights_and_shapes_that_do_not_fit_are_one_line(
    clips: Path, tmp_path: Path, more: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [] if "--set=init=scratch" in more else ["--weights", str(weights("videomae", tmp_path))]
    capfd.readouterr()
    assert train(clips, tmp_path / "model", *given, *more) == code
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("vgeo: ") and said in last
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_weights_that_are_not_here_are_named(clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(clips, tmp_path / "model", "--set=repository=nobody/nothing") == 69
    lines = capfd.readouterr().err.splitlines()[-4:]
    assert "its weights nobody/nothing are not on this machine" in lines[0]
    assert lines[2].endswith("--weights PATH") and lines[3].endswith("--set init=scratch")
