"""CLIP's text tower against transformers and open_clip called by hand, with tiny random models."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from textmaker import END, START, letters, make_clip, save_clip, save_tokenizer

from vgeo import device
from vgeo.encoders._text import load_text
from vgeo.errors import FormatError, InputError, MissingModelError, UsageError

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)
NAMES = ["São Paulo", "Paris", "", "N'Djamena", "a very long name of a place that no tower reads to its end", "Paris "]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP with its tokenizer."""
    return make_clip(tmp_path_factory.mktemp("whole"))


def by_hand(folder: Path, length: int = 24) -> torch.Tensor:
    """Each name alone, without padding, as transformers' own tokenizer and whole model see it."""
    import transformers as hf

    tokenizer, model = hf.CLIPTokenizer.from_pretrained(folder), hf.CLIPModel.from_pretrained(folder).eval()
    rows = []
    for name in NAMES:
        inputs = tokenizer([name], truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            rows.append(model.get_text_features(**inputs).pooler_output)
    return torch.cat(rows)


@pytest.mark.parametrize("end", [None, 2])
def test_agrees_with_transformers(whole: Path, tmp_path: Path, end: int | None) -> None:
    """Also where config.json names 2 as the end token, as OpenAI's does."""
    folder = tmp_path / "clip"
    shutil.copytree(whole, folder)
    if end is not None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["eos_token_id"] = end
        (folder / "config.json").write_text(json.dumps(config))
    encoder = load_text(str(folder), COMPUTE, offline=True)
    ours = encoder(NAMES)
    assert ours.shape == (len(NAMES), 24) and ours.dtype == torch.float32 and encoder.spec.dim == 24
    torch.testing.assert_close(ours, by_hand(folder), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[1], ours[5])  # blanks at the ends do not count
    assert len({tuple(row) for row in ours[:5].tolist()}) == 5
    assert encoder([]).shape == (0, 24)


def test_many_names_go_in_batches(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_text(str(whole), COMPUTE)
    expected = encoder(NAMES)
    monkeypatch.setattr("vgeo.encoders._text._BATCH", 4)
    torch.testing.assert_close(encoder(NAMES), expected, rtol=1e-4, atol=1e-6)


def test_hub_ids_and_weights_name_the_same_encoder(whole: Path) -> None:
    plain, named = (load_text(name, COMPUTE, weights=str(whole)) for name in ("clip", "clip:openai/x"))
    assert plain.spec.name == "clip:openai/clip-vit-base-patch32" and named.spec.name == "clip:openai/x"
    assert plain.spec.weights_hash == named.spec.weights_hash == load_text(str(whole), COMPUTE).spec.weights_hash
    assert torch.equal(plain(NAMES), named(NAMES))


def test_text_half_alone_is_the_same_encoder(whole: Path, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPTextModelWithProjection

    config = CLIPConfig.from_pretrained(whole).text_config
    config.projection_dim = 24
    CLIPTextModelWithProjection.from_pretrained(whole, config=config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, letters())
    half = load_text(str(tmp_path), COMPUTE)
    assert half.spec.weights_hash == load_text(str(whole), COMPUTE).spec.weights_hash
    torch.testing.assert_close(half(NAMES), by_hand(whole), rtol=1e-4, atol=1e-6)


def test_openais_vocabulary_needs_no_file(tmp_path: Path) -> None:
    """Against tokens as CLIP's own code gives them: the numbers are known from its tests and papers of others."""
    model = save_clip(tmp_path, vocab_size=49408, eos_token_id=49407)
    ids = torch.tensor([[49406, 320, 1125, 539, 320, 2368, 49407]])  # "a photo of a cat"
    with torch.no_grad():
        theirs = model.get_text_features(input_ids=ids).pooler_output
    encoder = load_text(str(tmp_path), COMPUTE)
    torch.testing.assert_close(encoder(["a photo of a cat"]), theirs, rtol=1e-4, atol=1e-6)
    several = encoder(["cat", "a photo of a cat", "a photo of a cat " * 9])  # the last is cut
    torch.testing.assert_close(several[1:2], theirs, rtol=1e-4, atol=1e-6)
    assert several.shape == (3, 24) and several.isfinite().all()


def test_old_weights_and_bf16(whole: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    shutil.copytree(whole, tmp_path / "old")
    torch.save(load_file(whole / "model.safetensors"), tmp_path / "old/pytorch_model.bin")
    (tmp_path / "old/model.safetensors").unlink()
    exact = load_text(str(tmp_path / "old"), COMPUTE)(NAMES)
    assert torch.equal(exact, load_text(str(whole), COMPUTE)(NAMES))
    mixed = load_text(str(whole), device.Compute(COMPUTE.device, torch.bfloat16))(NAMES)
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, exact)
    assert torch.cosine_similarity(mixed, exact).min() > 0.99


def test_a_tokenizer_of_another_model_is_refused(whole: Path, tmp_path: Path) -> None:
    """Without the model's end token every text would get the vector of its first token, silently."""
    shutil.copytree(whole, tmp_path / "other")
    words = letters()
    words[START], words[END] = words[END], words[START]
    save_tokenizer(tmp_path / "other", words)
    with pytest.raises(FormatError, match="are they of different models"):
        load_text(str(tmp_path / "other"), COMPUTE)
    renamed = {START: "<start_of_text>", END: "<end_of_text>"}  # then transformers adds its own behind the last
    save_tokenizer(tmp_path / "other", {renamed.get(word, word): i for word, i in letters().items()})
    with pytest.raises(FormatError, match="are they of different models"):
        load_text(str(tmp_path / "other"), COMPUTE)
    (tmp_path / "other/vocab.json").write_text("[")
    with pytest.raises(FormatError, match="its tokenizer is not readable"):
        load_text(str(tmp_path / "other"), COMPUTE)
    (tmp_path / "other/vocab.json").unlink()
    with pytest.raises(FormatError, match=r"has no tokenizer\.json"):
        load_text(str(tmp_path / "other"), COMPUTE)


def test_open_clip(tmp_path: Path) -> None:
    """A small architecture of its own name, so that no real one is claimed."""
    import open_clip

    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (tmp_path / "ViT-Tiny-16.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "ViT-Tiny-16.json")
    torch.manual_seed(2)
    model = open_clip.create_model("ViT-Tiny-16", pretrained=None).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "tiny.pt")
    encoder = load_text("ViT-Tiny-16", COMPUTE, weights=str(tmp_path / "tiny.pt"))
    with torch.no_grad():
        theirs = model.encode_text(open_clip.get_tokenizer("ViT-Tiny-16")(NAMES))
    torch.testing.assert_close(encoder(NAMES), theirs, rtol=1e-4, atol=1e-6)
    assert (encoder.spec.name, encoder.spec.dim) == ("clip:ViT-Tiny-16", 16)
    for name in ("logit_scale", "visual.conv1.weight"):  # not of the text tower
        model.state_dict()[name].add_(1)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "tiny.pt")
    other = load_text("clip:ViT-Tiny-16", COMPUTE, weights=str(tmp_path / "tiny.pt"))
    assert other.spec.same_features(encoder.spec)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dinov2", "no encoder of text; give clip, a hub id"),
        ("ViT-L-15/openai", "open_clip knows no ViT-L-15"),
        ("clip:ViT-B-32", "name its weights too"),
        ("ViT-B-16-SigLIP/webli", "reads text in tokens of its own"),
    ],
)
def test_wrong_names(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_text(name, COMPUTE, offline=True)


@pytest.mark.parametrize("name", ["clip", "nobody/nothing", "ViT-B-32-quickgelu/openai"])
def test_offline_without_weights_says_what_to_do(name: str) -> None:
    with pytest.raises(MissingModelError) as caught:
        load_text(name, COMPUTE, offline=True)
    assert all(word in str(caught.value) for word in ("--offline", "download", "--weights"))
    assert "gist" not in str(caught.value) and len(str(caught.value).splitlines()) == 3
    with pytest.raises(InputError):
        load_text(name, COMPUTE, weights="/nothing/there")
