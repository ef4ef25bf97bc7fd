"""VideoMAE, TimeSformer and MAE against transformers called by hand, with tiny random models."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vgeo import device, encoders
from vgeo.encoders.base import Encoder
from vgeo.errors import FormatError, UsageError

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)
SIZE = 32
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"image_size": SIZE, "patch_size": 16}
MEAN_STD = {
    "videomae": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "timesformer": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "mae": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
LENGTH = {"videomae": 16, "timesformer": 8}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tiny random models with every bias away from zero, as trained ones have them."""
    import transformers as hf

    torch.manual_seed(0)
    built: dict[str, Any] = {
        "videomae": hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**SMALL)),  # as fine-tuned ones are published
        "timesformer": hf.TimesformerForVideoClassification(hf.TimesformerConfig(**SMALL, num_frames=8)),
        "mae": hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**SMALL)),
    }
    for model in built.values():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "time_embeddings")):
                parameter.data.normal_(std=0.5)
            if name.endswith("key.bias"):
                parameter.data.zero_()
    return {name: model.eval() for name, model in built.items()}


@pytest.fixture(scope="module")
def folders(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return {name: folder / name for name in models}


def load(name: str, folders: dict[str, Path], **settings: str) -> Encoder:
    return encoders.load(name, COMPUTE, weights=str(folders[name]), settings=settings, offline=True)


def frames(count: int, height: int = SIZE, width: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def pixels(images: Tensor, mean_std: Any) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in mean_std)
    return (images.permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.mark.parametrize("name", ["videomae", "timesformer"])
def test_agrees_with_transformers(models: dict[str, Any], folders: dict[str, Path], name: str) -> None:
    encoder, images = load(name, folders), frames(LENGTH[name])
    bare = models[name].videomae if name == "videomae" else models[name].timesformer
    with torch.no_grad():
        tokens = bare(pixels(images, MEAN_STD[name])[None], output_hidden_states=True)
    last = tokens.hidden_states[-1] if name == "videomae" else tokens.last_hidden_state
    wanted = last.mean(dim=1) if name == "videomae" else last[:, 0]
    assert encoder.windows is not None and encoder.windows.length == LENGTH[name]
    torch.testing.assert_close(encoder(images[None]), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", ["class", "patches"])
def test_mae_sees_all_patches(models: dict[str, Any], folders: dict[str, Path], pool: str) -> None:
    """Its own blocks, without the shuffling and masking between them."""
    vit, images = models["mae"].vit, frames(3)
    with torch.no_grad():
        positions = vit.embeddings.position_embeddings
        patches = vit.embeddings.patch_embeddings(pixels(images, MEAN_STD["mae"])) + positions[:, 1:]
        start = (vit.embeddings.cls_token + positions[:, :1]).expand(3, -1, -1)
        tokens = torch.cat([start, patches], dim=1)
        for layer in vit.layers:
            tokens = layer(tokens)
        tokens = vit.layernorm(tokens)
    wanted = tokens[:, 0] if pool == "class" else tokens[:, 1:].mean(dim=1)
    encoder = load("mae", folders, pool=pool)
    torch.testing.assert_close(encoder(images), wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(encoder(images), encoder(images)), "drawn noise would change the order of sums"


@pytest.mark.parametrize("name", ["videomae", "timesformer", "mae"])
def test_frames_are_squashed_as_the_published_loader_does(folders: dict[str, Path], name: str) -> None:
    """Pillow's bilinear resize to a square, ToTensor, and nothing more with normalize=none."""
    encoder = load(name, folders, normalize="none")
    y, x = np.mgrid[0:90, 0:160] / 160
    image = np.clip(np.stack([np.sin(9 * x), np.cos(7 * y), np.sin(5 * x * y)], -1) * 80 + 120, 0, 255).astype(np.uint8)
    squashed = np.array(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    ours, theirs = (torch.from_numpy(array)[None].repeat(LENGTH.get(name, 1), 1, 1, 1) for array in (image, squashed))
    if name in LENGTH:
        ours, theirs = ours[None], theirs[None]
    assert torch.cosine_similarity(encoder(ours), encoder(theirs)).item() > 0.9999
    seen: list[Tensor] = []
    encoder._model.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda _module, _args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    encoder(theirs)
    assert torch.equal(seen[0].flatten(0, -4)[0], torch.from_numpy(squashed).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("name", ["videomae", "timesformer"])
def test_a_batch_equals_single_windows_and_shrunken_frames_equal_whole_ones(
    folders: dict[str, Path], name: str
) -> None:
    encoder, length = load(name, folders), LENGTH[name]
    images = frames(3 * length, 48, 80)
    windows = images.unflatten(0, (3, length))
    one_by_one = torch.cat([encoder(window[None]) for window in windows])
    torch.testing.assert_close(encoder(windows), one_by_one, rtol=1e-4, atol=1e-5)
    small = encoder.shrink(images)
    assert small.shape == (3 * length, SIZE, SIZE, 3) and small.dtype == torch.uint8
    assert torch.equal(encoder(small.unflatten(0, (3, length))), encoder(windows))


def test_settings_change_what_is_compared(folders: dict[str, Path]) -> None:
    plain = load("videomae", folders)
    assert plain.spec.preprocessing.endswith("; 16 frames a row, windows; mean of the tokens")
    for settings in ({"frames": "first76"}, {"normalize": "none"}, {"crop": "center"}):
        assert not plain.spec.same_features(load("videomae", folders, **settings).spec)
    assert plain.spec.same_features(load("videomae", folders, frames="windows").spec)
    images = frames(16)[None]
    assert not torch.allclose(plain(images), load("videomae", folders, normalize="none")(images), atol=1e-2)


def test_timesformer_stretches_its_times_to_other_windows(models: dict[str, Any], folders: dict[str, Path]) -> None:
    """As a model for 16 frames has it from the start, each entry of its table of times twice.

    transformers' own model for 8 frames takes 16, too, but folds their tokens into 8 frames of twice the height.
    """
    import transformers as hf

    encoder, images = load("timesformer", folders, window="16"), frames(16)
    short = models["timesformer"].timesformer
    long = hf.TimesformerModel(hf.TimesformerConfig(**SMALL, num_frames=16)).eval()  # type: ignore[arg-type]
    state = short.state_dict()
    state["embeddings.time_embeddings"] = state["embeddings.time_embeddings"].repeat_interleave(2, dim=1)
    long.load_state_dict(state)
    seen = pixels(images, MEAN_STD["timesformer"])[None]
    with torch.no_grad():
        wanted, folded = (model(seen).last_hidden_state[:, 0] for model in (long, short))
    torch.testing.assert_close(encoder(images[None]), wanted, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(wanted, folded, atol=1e-3)
    for wrong in ("0", "many", "-3"):
        with pytest.raises(UsageError, match="not a number of frames"):
            load("timesformer", folders, window=wrong)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("videomae", {"frames": "all"}, "not one of windows, first76, strided, uniform"),
        ("videomae", {"normalize": "clip"}, "not one of imagenet, none"),
        ("videomae", {"window": "8"}, "no setting 'window'"),
        ("timesformer", {"normalize": "imagenet"}, "not one of kinetics, none"),
        ("mae", {"pool": "max"}, "not one of class, patches"),
    ],
)
def test_wrong_settings(folders: dict[str, Path], name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(name, folders, **settings)


def test_released_videomae_keeps_its_biases_whatever_they_are_called(
    models: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    """The hub's files name them q_bias and v_bias; releases of transformers 5 look for other names, and zero them."""
    from safetensors.torch import save_file

    short, long = {}, {}
    for name, value in models["videomae"].state_dict().items():
        if "key.bias" in name:
            continue
        long[name] = value.contiguous()
        short[name.replace("query.bias", "q_bias").replace("value.bias", "v_bias")] = value.contiguous()
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in short
    images, wanted = frames(16)[None], load("videomae", folders)
    for layout, state in (("short", short), ("long", long)):
        shutil.copytree(folders["videomae"], tmp_path / layout)
        save_file(state, tmp_path / layout / "model.safetensors", metadata={"format": "pt"})
        found = encoders.load("videomae", COMPUTE, weights=str(tmp_path / layout))
        assert torch.equal(found(images), wanted(images))
        assert found.spec.weights_hash == wanted.spec.weights_hash
    del short["videomae.encoder.layer.1.attention.attention.q_bias"]
    save_file(short, tmp_path / "short/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match=r"lacks 1 tensors .* encoder\.layer\.1\.attention\.attention\.query\.bias"):
        encoders.load("videomae", COMPUTE, weights=str(tmp_path / "short"))


@pytest.mark.parametrize("name", ["videomae", "timesformer", "mae"])
def test_older_files_are_read_as_tensors_alone(
    models: dict[str, Any], folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    shutil.copy(folders[name] / "config.json", tmp_path / "config.json")
    torch.save(models[name].state_dict(), tmp_path / "pytorch_model.bin")
    found = encoders.load(name, COMPUTE, weights=str(tmp_path))
    assert found.spec.weights_hash == load(name, folders).spec.weights_hash
    torch.save({"embeddings": Path("code")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(FormatError, match="not loadable"):
        encoders.load(name, COMPUTE, weights=str(tmp_path))


def test_the_hub_is_asked_for_older_files_only_where_there_are_no_others(
    folders: dict[str, Path], models: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[list[str]] = []

    def download(repository: str, allow_patterns: list[str], local_files_only: bool = False, **_: Any) -> str:
        assert repository == "facebook/vit-mae-base"
        if local_files_only:
            raise LocalEntryNotFoundError("nothing is cached")
        asked.append(allow_patterns)
        shutil.copy(folders["mae"] / "config.json", tmp_path)
        if "pytorch_model.bin" in allow_patterns:
            torch.save(models["mae"].state_dict(), tmp_path / "pytorch_model.bin")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("vgeo.encoders._hub.require_network", lambda *_: None)
    found = encoders.load("mae", COMPUTE)
    assert found.spec.weights_hash == load("mae", folders).spec.weights_hash
    assert found.spec.weights == "facebook/vit-mae-base"
    assert len(asked) == 2 and asked[1] == ["config.json", "pytorch_model.bin"] and asked[1][1] not in asked[0]


def test_weights_of_another_family_are_refused(folders: dict[str, Path]) -> None:
    for name, other in (("videomae", "timesformer"), ("timesformer", "mae"), ("mae", "videomae")):
        with pytest.raises(FormatError, match=r"another family|not loadable"):
            encoders.load(name, COMPUTE, weights=str(folders[other]))
