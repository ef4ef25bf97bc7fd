"""CLIP, DINOv2 and SigLIP against transformers and open_clip called by hand, with tiny random models."""

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vgeo import device, encoders
from vgeo.errors import FormatError, InputError, MissingModelError, UsageError

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models of the three families, made by save_pretrained."""
    import transformers as hf

    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": 64, "max_position_embeddings": 8}
    vision = {**SMALL, "image_size": 64, "patch_size": 16}
    built = {
        "clip": hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)),
        "dinov2": hf.Dinov2Model(hf.Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                                 image_size=70, patch_size=14)),
        "siglip": hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=vision)),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("models")
    for name, model in built.items():
        model.save_pretrained(folder / name)
    return {name: folder / name for name in built}


def picture(height: int, width: int) -> np.ndarray:
    """A smooth picture with edges, so that resizing matters but does not alias."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = np.stack([np.sin(9 * x + 3 * y), np.cos(7 * y), np.sin(5 * x * y) + (x > 0.5)], axis=-1)
    return np.clip(waves * 80 + 120, 0, 255).astype(np.uint8)


def by_hand(name: str, folder: Path, image: np.ndarray) -> torch.Tensor:
    """What transformers' own processor and model say of an image."""
    import transformers as hf

    processor: Any
    pil = Image.fromarray(image)
    if name == "clip":
        processor = hf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
        model: Any = hf.CLIPModel.from_pretrained(folder).eval()
        read: Callable[..., Any] = model.get_image_features
    elif name == "dinov2":
        processor = hf.BitImageProcessor(
            size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=Image.Resampling.BICUBIC,
            image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
        )  # fmt: skip
        model = hf.Dinov2Model.from_pretrained(folder).eval()
        read = model
    else:
        processor = hf.SiglipImageProcessor(size={"height": 64, "width": 64})
        model = hf.SiglipModel.from_pretrained(folder).eval()
        read = model.get_image_features
    with torch.no_grad():
        out = read(**processor(images=pil, return_tensors="pt"))
    if name == "dinov2":
        torch.testing.assert_close(out.pooler_output, out.last_hidden_state[:, 0])
    pooled: torch.Tensor = out.pooler_output
    return pooled


@pytest.mark.parametrize("name", ["clip", "dinov2", "siglip"])
@pytest.mark.parametrize("shape", [(256, 256), (180, 320), (300, 200)])
def test_agrees_with_transformers(models: dict[str, Path], name: str, shape: tuple[int, int]) -> None:
    encoder = encoders.load(name, COMPUTE, weights=str(models[name]), offline=True)
    image = picture(*shape)
    ours, theirs = encoder(torch.from_numpy(image)[None]), by_hand(name, models[name], image)
    assert ours.shape == (1, encoder.spec.dim)
    assert torch.cosine_similarity(ours, theirs).item() > 0.9999
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02 * theirs.abs().max().item())


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_is_exact_when_nothing_is_resized(models: dict[str, Path], name: str) -> None:
    encoder = encoders.load(name, COMPUTE, weights=str(models[name]), offline=True)
    image = picture(64, 64)
    torch.testing.assert_close(
        encoder(torch.from_numpy(image)[None]), by_hand(name, models[name], image), rtol=1e-4, atol=1e-5
    )


def test_squash_sees_what_the_crop_leaves_out(models: dict[str, Path]) -> None:
    image = torch.from_numpy(picture(64, 128))[None]
    changed = image.clone()
    changed[:, :, :20] = 0
    center = encoders.load("clip", COMPUTE, weights=str(models["clip"]))
    squash = encoders.load("clip", COMPUTE, weights=str(models["clip"]), settings={"crop": "squash"})
    assert torch.equal(center(image), center(changed))
    assert not torch.allclose(squash(image), squash(changed), atol=1e-3)
    assert center.spec.preprocessing != squash.spec.preprocessing
    assert not center.spec.same_features(squash.spec)


def test_batch_equals_single_frames(models: dict[str, Path]) -> None:
    encoder = encoders.load("dinov2", COMPUTE, weights=str(models["dinov2"]), settings={"size": "56"})
    frames = torch.from_numpy(np.stack([picture(90, 120), 255 - picture(90, 120), picture(90, 120)[::-1]]))
    torch.testing.assert_close(encoder(frames), torch.cat([encoder(f[None]) for f in frames]), rtol=1e-4, atol=1e-5)


def test_bf16_stays_close(models: dict[str, Path]) -> None:
    frames = torch.from_numpy(picture(64, 64))[None]
    exact = encoders.load("clip", COMPUTE, weights=str(models["clip"]))(frames)
    mixed = encoders.load("clip", device.Compute(COMPUTE.device, torch.bfloat16), weights=str(models["clip"]))(frames)
    assert mixed.dtype == torch.float32 and not torch.equal(exact, mixed)
    assert torch.cosine_similarity(exact, mixed).item() > 0.999


def test_hash_is_of_the_tensors_not_of_the_file(models: dict[str, Path], tmp_path: Path) -> None:
    """The whole CLIP, its vision half alone, and a sharded copy are the same encoder; one changed number is another."""
    from transformers import CLIPConfig, CLIPVisionModelWithProjection

    def digest(folder: Path) -> str:
        return encoders.load("clip", COMPUTE, weights=str(folder)).spec.weights_hash

    config = CLIPConfig.from_pretrained(models["clip"]).vision_config
    config.projection_dim = 24
    half = CLIPVisionModelWithProjection.from_pretrained(models["clip"], config=config)
    half.save_pretrained(tmp_path / "half")
    half.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards/model.safetensors.index.json").exists()
    with torch.no_grad():
        half.visual_projection.weight[0, 0] += 1
    half.save_pretrained(tmp_path / "other")
    whole = digest(models["clip"])
    assert len(whole) == 16 and int(whole, 16)
    assert whole == digest(tmp_path / "half") == digest(tmp_path / "shards") != digest(tmp_path / "other")


def test_weights_of_another_family_are_refused(models: dict[str, Path]) -> None:
    with pytest.raises(FormatError, match=r"another family|not loadable"):
        encoders.load("dinov2", COMPUTE, weights=str(models["clip"]))
    with pytest.raises(FormatError, match=r"another family|not loadable"):
        encoders.load("clip", COMPUTE, weights=str(models["siglip"]))


def test_missing_tensor_is_an_error_not_a_random_layer(models: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(models["clip"], tmp_path / "clip")
    state = load_file(tmp_path / "clip/model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "clip/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match=r"lacks 1 tensors .* visual_projection\.weight"):
        encoders.load("clip", COMPUTE, weights=str(tmp_path / "clip"))


def test_damaged_and_pickled_weights_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(models["clip"], tmp_path / "cut")
    whole = (tmp_path / "cut/model.safetensors").read_bytes()
    (tmp_path / "cut/model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(FormatError, match="not loadable") as caught:
        encoders.load("clip", COMPUTE, weights=str(tmp_path / "cut"))
    assert "\n" not in str(caught.value)
    shutil.copytree(models["clip"], tmp_path / "pickle")
    (tmp_path / "pickle/model.safetensors").unlink()
    torch.save({}, tmp_path / "pickle/pytorch_model.bin")
    with pytest.raises(FormatError, match=r"no config\.json and model\.safetensors"):
        encoders.load("clip", COMPUTE, weights=str(tmp_path / "pickle"))
    with pytest.raises(InputError):
        encoders.load("clip", COMPUTE, weights=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    "name",
    ["clip", "dinov2", "siglip", "videomae", "timesformer", "mae", "torchvision:resnet18", "clip:ViT-B-32/openai"],
)
def test_offline_without_weights_says_what_to_do_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(MissingModelError) as caught:
        encoders.load(name, COMPUTE, offline=True)
    assert time.perf_counter() - start < 30
    message = str(caught.value)
    assert caught.value.exit_code == 69
    assert all(word in message for word in ("--offline", "download", "--weights", "gist"))
    assert len(message.splitlines()) == 4


def test_unreachable_hub_is_told_quickly_and_quietly(tmp_path: Path) -> None:
    """A closed port on this machine stands for the network that is not there."""
    code = (
        "import torch; from vgeo import device, encoders\n"
        "encoders.load('clip', device.Compute(torch.device('cpu'), torch.float32))"
    )
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "0"}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert time.perf_counter() - start < 40
    assert "MissingModelError: clip: its weights openai/clip-vit-large-patch14" in done.stderr
    assert "127.0.0.1:9 cannot be reached" in done.stderr
    assert "Retrying" not in done.stderr


def test_loading_is_silent(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    encoders.load("clip", COMPUTE, weights=str(models["clip"]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("clip", {"size": "9"}, "no setting 'size'; it has crop=center"),
        ("clip", {"crop": "middle"}, "not one of center, squash"),
        ("dinov2", {"size": "225"}, "a multiple of 14"),
        ("dinov2", {"size": "big"}, "not a size in pixels"),
    ],
)
def test_wrong_settings(models: dict[str, Path], name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encoders.load(name, COMPUTE, weights=str(models[name]), settings=settings)


# --- open_clip ---


@pytest.fixture(scope="module")
def open_clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny architecture under the name of a real one would be a lie: RN50 with random weights is the smallest."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("RN50-quickgelu", pretrained=None)
    path = tmp_path_factory.mktemp("open_clip") / "rn50.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    return path


@pytest.mark.slow
def test_open_clip_names_and_the_quickgelu_trap(open_clip_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    import open_clip

    with caplog.at_level(logging.INFO):
        encoder = encoders.load("clip:RN50/openai", COMPUTE, weights=str(open_clip_file))
    assert "RN50/openai was trained with QuickGELU: taking RN50-quickgelu" in caplog.text
    assert encoder.spec.name == "clip:RN50-quickgelu/openai"
    model, _, transform = open_clip.create_model_and_transforms("RN50-quickgelu", pretrained=str(open_clip_file))
    image = picture(260, 300)
    with torch.no_grad():
        theirs = model.eval().encode_image(transform(Image.fromarray(image))[None])
    ours = encoder(torch.from_numpy(image)[None])
    assert ours.shape == (1, 1024)
    assert torch.cosine_similarity(ours, theirs).item() > 0.999


def test_open_clip_wrong_names() -> None:
    with pytest.raises(UsageError, match="open_clip knows no ViT-L-15"):
        encoders.load("clip:ViT-L-15/openai", COMPUTE)
    with pytest.raises(UsageError, match="there are openai"):
        encoders.load("clip:ViT-L-14/nobody", COMPUTE)
    with pytest.raises(UsageError, match="name its weights too"):
        encoders.load("clip:ViT-L-14", COMPUTE)
