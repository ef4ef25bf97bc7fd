"""Weights that training starts from, and trained backbones as encoders; tiny random models, saved as released."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vgeo import encoders
from vgeo.device import Compute
from vgeo.encoders._windows import Windows
from vgeo.errors import FormatError, InputError, MissingModelError, SettingError
from vgeo.methods._backbones import Backbone, BackboneShape, Family, preprocess
from vgeo.stages.backbones import own_encoder, released_backbone

COMPUTE = Compute(torch.device("cpu"), torch.float32)
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"image_size": 32, "patch_size": 16}
FRAMES: dict[Family, int] = {"videomae": 16, "timesformer": 8, "mae": 1}
FAMILIES = list(FRAMES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Classifiers of video and a decoder of images, as the hub has them."""
    import transformers as hf

    torch.manual_seed(0)
    sizes: Any = SIZES
    models: dict[str, Any] = {
        "videomae": hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**sizes)),
        "timesformer": hf.TimesformerForVideoClassification(hf.TimesformerConfig(**sizes, num_frames=8)),
        "mae": hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**sizes)),
    }
    folder = tmp_path_factory.mktemp("released")
    for name, model in models.items():
        for parameter, values in model.named_parameters():
            if parameter.endswith(("bias", "time_embeddings")) and not parameter.endswith("key.bias"):
                values.data.normal_(std=0.5)
        model.save_pretrained(folder / name)
    return {name: folder / name for name in models}


def loaded(family: Family, folders: dict[str, Path], frames: int | None = None) -> Backbone:
    found = released_backbone(family, weights=str(folders[family]), frames=frames, offline=True)
    backbone = Backbone(found.family, found.shape)
    backbone.load_state_dict(found.tensors)
    return backbone


def frames(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size[0])
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_frozen_encoder_of_the_same_folder(folders: dict[str, Path], family: Family) -> None:
    frozen = encoders.load(family, COMPUTE, weights=str(folders[family]), settings={"normalize": "none"})
    found = released_backbone(family, weights=str(folders[family]))
    assert found.shape == BackboneShape(frames=FRAMES[family], image_px=32, width=32, layers=2, heads=2, mlp=64)
    assert (found.weights, found.weights_hash) == (str(folders[family]), frozen.spec.weights_hash)
    clips = frames(3, FRAMES[family], 32, 32)
    with torch.no_grad():
        features = loaded(family, folders).eval()(preprocess(clips))
    assert torch.equal(features, frozen(clips[:, 0] if family == "mae" else clips))


@pytest.mark.parametrize("family", FAMILIES)
def test_own_encoder_equals_the_backbone_exactly(folders: dict[str, Path], family: Family) -> None:
    backbone, windows = loaded(family, folders).train(), Windows(length=FRAMES[family], rule="windows")
    clips = frames(3, FRAMES[family], 32, 32)
    for normalize in ("none", "imagenet"):
        encoder = own_encoder(backbone, windows, COMPUTE, name="cityguessr", normalize=normalize)
        assert not backbone.training
        with torch.no_grad():
            assert torch.equal(encoder(clips), backbone(preprocess(clips, normalize)))
    assert (encoder.spec.name, encoder.spec.dim, encoder.windows) == ("cityguessr", 32, windows)
    assert "32x32 squash, bilinear antialias, mean 0.485" in encoder.spec.preprocessing


def test_own_encoder_squashes_as_the_frozen_one(folders: dict[str, Path]) -> None:
    frozen = encoders.load("videomae", COMPUTE, weights=str(folders["videomae"]), settings={"normalize": "none"})
    own = own_encoder(loaded("videomae", folders), Windows(length=16, rule="strided"), COMPUTE, name="cityguessr")
    clips = frames(2, 16, 40, 70)
    assert torch.equal(own(clips), frozen(clips))
    assert torch.equal(own.shrink(clips[0]), frozen.shrink(clips[0]))


def test_training_changes_what_the_encoder_calls_itself(folders: dict[str, Path]) -> None:
    backbone, windows = loaded("mae", folders), Windows(length=1, rule="first")
    before = own_encoder(backbone, windows, COMPUTE, name="cityguessr").spec
    assert before.same_features(own_encoder(backbone, windows, COMPUTE, name="cityguessr").spec)
    with torch.no_grad():
        backbone.model.layernorm.bias += 1
    assert not before.same_features(own_encoder(backbone, windows, COMPUTE, name="cityguessr").spec)
    with pytest.raises(ValueError, match="windows of 16 frames for a backbone of 1"):
        own_encoder(backbone, Windows(length=16, rule="windows"), COMPUTE, name="cityguessr")


def test_timesformer_takes_other_lengths(folders: dict[str, Path]) -> None:
    """Each entry of its table of times serves two frames, as in the frozen encoder."""
    frozen = encoders.load(
        "timesformer", COMPUTE, weights=str(folders["timesformer"]), settings={"normalize": "none", "window": "16"}
    )
    clips, backbone = frames(2, 16, 32, 32), loaded("timesformer", folders, frames=16)
    assert backbone.shape.frames == 16
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(preprocess(clips)), frozen(clips), rtol=1e-5, atol=1e-6)
    assert loaded("timesformer", folders, frames=15).shape.frames == 15


@pytest.mark.parametrize(
    ("family", "count", "message"),
    [
        ("videomae", 15, r"frames=15: .*videomae takes windows of 16 frames and no others; --set frames=16, or train"),
        ("videomae", 14, r"frames=14: .* 16 frames and no others"),
        ("mae", 16, r"frames=16: mae sees single frames, so frames must be 1, not 16"),
        ("timesformer", 0, r"frames=0: all numbers of a backbone must be at least 1"),
    ],
)
def test_frames_that_do_not_fit_are_one_line(
    folders: dict[str, Path], family: Family, count: int, message: str
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        released_backbone(family, weights=str(folders[family]), frames=count)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_here(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError) as caught:
        released_backbone("videomae", "nobody/nothing", offline=True)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("videomae: its weights nobody/nothing are not on this machine")
    assert "--weights PATH" in lines[2] and lines[3] == "  or without a download: --set init=scratch"
    with pytest.raises(InputError, match="no such folder"):
        released_backbone("videomae", weights=str(tmp_path / "none"))


def test_weights_of_another_family(folders: dict[str, Path]) -> None:
    for family, other in (("videomae", "timesformer"), ("timesformer", "mae"), ("mae", "videomae")):
        with pytest.raises(FormatError):
            released_backbone(family, weights=str(folders[other]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("videomae", {"layer_norm_eps": 1e-3}, "layer_norm_eps=0.001, which is built only with 1e-12; use it frozen"),
        ("timesformer", {"hidden_act": "relu"}, "hidden_act=relu"),
        ("mae", {"qkv_bias": False}, "qkv_bias=False"),
    ],
)
def test_models_that_are_not_the_usual_ones(
    folders: dict[str, Path], tmp_path: Path, family: Family, change: dict[str, Any], message: str
) -> None:
    """Rebuilt from the shape alone they would be others."""
    folder = shutil.copytree(folders[family], tmp_path / family)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(FormatError, match=message):
        released_backbone(family, weights=str(folder))


def test_released_videomae_under_its_old_names(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["videomae"], tmp_path / "old")
    state = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value
        for name, value in state.items()
        if not name.endswith("key.bias")
    }
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in renamed
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    old, new = (released_backbone("videomae", weights=str(path)) for path in (folder, folders["videomae"]))
    assert old.weights_hash == new.weights_hash
    assert old.tensors.keys() == new.tensors.keys()
    assert all(torch.equal(old.tensors[name], new.tensors[name]) for name in new.tensors)
