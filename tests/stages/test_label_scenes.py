"""Scenes of clips: shares, majority and mixing against what is worked out by hand; CLIP against transformers."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scenemaker import memberships, network, picture, probabilities, save, write_groups, write_pictures

from vgeo import device
from vgeo.errors import FormatError, MissingModelError, OutputError, UsageError
from vgeo.formats.scenes import GROUPS, read_scenes
from vgeo.stages.label_scenes import default_out, label_scenes, majority_label, soft_label
from vgeo.stages.scene_classifiers import DESCRIPTIONS, load_scene_classifier

COMPUTE = device.Compute(torch.device("cpu"), torch.float32)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path, Path]:
    """A network whose answers differ much between pictures, its file, and its categories' groups."""
    folder = tmp_path_factory.mktemp("places")
    model: Any = network()
    head, model.fc = model.fc, torch.nn.Identity()
    images = torch.stack([torch.from_numpy(picture(224, 224, seed)) for seed in range(12)]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        head.weight *= 100
        head.bias = torch.nn.Parameter(-head.weight @ model((images - 0.45) / 0.225).mean(0))
    model.fc = head
    return model, save(model, folder / "w.pth.tar"), write_groups(folder / "groups.csv", memberships())


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP with OpenAI's vocabulary, and no tokenizer of its own."""
    import transformers as hf

    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407}
    vision = {**SMALL, "image_size": 64, "patch_size": 16}
    model = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    images = torch.stack([torch.from_numpy(picture(64, 64, seed)) for seed in range(12)]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():  # random pictures lie together for a random model: their middle is taken out
        model.vision_model.post_layernorm.bias -= model.vision_model((images - 0.45) / 0.26).pooler_output.mean(0)
        model.text_projection.weight[0] *= 20  # so that the descriptions' vectors are of different lengths
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return folder


def test_soft_labels_are_shares_and_the_first_of_equals_has_the_majority() -> None:
    counts = np.bincount([3, 5, 5, 9, 3, 5, 0, 3], minlength=16)  # of 8 frames: one, three, three, one
    np.testing.assert_array_equal(soft_label(counts), [1 / 8, 0, 0, 3 / 8, 0, 3 / 8, 0, 0, 0, 1 / 8, *[0] * 6])
    np.testing.assert_array_equal(majority_label(soft_label(counts)), np.eye(16)[3])
    counts[5] += 1
    np.testing.assert_array_equal(majority_label(soft_label(counts)), np.eye(16)[5])


def test_a_places_network_labels_as_worked_out_by_hand(
    places: tuple[torch.nn.Module, Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, weights, table = places
    clips = {
        "a": [picture(256, 256, seed) for seed in range(9)],
        "b": [picture(256, 256, seed) for seed in (4, 2, 4)],
    }
    shared_out = memberships() / memberships().sum(1, keepdims=True)
    expected = {}
    for name, pictures in clips.items():
        write_pictures(tmp_path / "clips" / name, pictures)
        winners = [int((probabilities(model, image).numpy() @ shared_out).argmax()) for image in pictures]
        expected[name] = np.array([winners.count(group) / len(winners) for group in range(16)])
    assert (expected["a"] > 0).sum() > 2 and (expected["b"] > 0).sum() == 2  # else this would show nothing
    plain = [int(probabilities(model, image).argmax()) % 16 for image in clips["a"]]
    assert [plain.count(group) / 9 for group in range(16)] != expected["a"].tolist()  # the mixing matters

    out = tmp_path / "scenes.csv"
    with caplog.at_level(logging.INFO):
        outcomes = label_scenes([tmp_path / "clips"], out, str(weights), groups=table, batch_size=4, compute=COMPUTE)
    indoor, natural, built = (
        (9 * expected["a"][part].sum() + 3 * expected["b"][part].sum()) / 12
        for part in (slice(6), slice(6, 10), slice(10, 16))
    )
    said = f"indoor {indoor:.0%}; outdoor, natural {natural:.0%}; outdoor, man-made {built:.0%}"
    assert f"scenes.csv: 2 clips, 12 frames: {said}" in caplog.text
    assert [(outcome.status, outcome.frames) for outcome in outcomes] == [("done", 9), ("done", 3)]
    found = read_scenes(out)
    assert list(found) == ["a", "b"]
    for name, shares in expected.items():
        np.testing.assert_allclose(found[name], shares, atol=1e-7)
    assert out.read_text().splitlines()[2].startswith("b,3,")

    label_scenes([tmp_path / "clips"], out, str(weights), groups=table, majority=True, compute=COMPUTE, overwrite=True)
    for name, shares in read_scenes(out).items():
        np.testing.assert_array_equal(shares, np.eye(16)[expected[name].argmax()])


def test_clip_labels_as_transformers_says(clip_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import open_clip
    import transformers as hf

    pictures = [picture(64, 64, seed) for seed in range(12)]  # of the model's size: nothing is resized
    write_pictures(tmp_path / "clip", pictures)
    model: Any = hf.CLIPModel.from_pretrained(clip_folder).eval()
    prompts = [f"a photo of {words}." for words in DESCRIPTIONS.values()]
    ids: Any = open_clip.SimpleTokenizer()(prompts)
    processor: Any = hf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    pixels = processor(images=[Image.fromarray(image) for image in pictures], return_tensors="pt")
    with torch.no_grad():
        winners = model(input_ids=ids, **pixels).logits_per_image.argmax(1).tolist()
    assert len(set(winners)) > 1
    with caplog.at_level(logging.INFO):
        label_scenes([tmp_path / "clip"], tmp_path / "s.csv", weights={"clip": str(clip_folder)}, compute=COMPUTE)
    assert "zero-shot: labels of vgeo's own, CityGuessr's are by a Places365 network" in caplog.text
    (shares,) = read_scenes(tmp_path / "s.csv").values()
    np.testing.assert_allclose(shares, [winners.count(group) / 12 for group in range(16)], atol=1e-7)


def test_every_group_has_a_description_of_its_own() -> None:
    assert tuple(DESCRIPTIONS) == GROUPS and len(set(DESCRIPTIONS.values())) == 16


def test_a_clip_that_fails_is_left_out(places: tuple[torch.nn.Module, Path, Path], tmp_path: Path) -> None:
    _, weights, table = places
    write_pictures(tmp_path / "good", [picture(64, 64)])
    write_pictures(tmp_path / "half", [picture(64, 64)] * 2)
    (tmp_path / "half/000.png").write_bytes(b"no picture")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    inputs = [tmp_path / "good", tmp_path / "bad.mp4", tmp_path / "half"]
    outcomes = label_scenes(inputs, tmp_path / "s.csv", str(weights), groups=table, compute=COMPUTE)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert "000.png" in outcomes[2].message and outcomes[2].frames == 1
    assert list(read_scenes(tmp_path / "s.csv")) == ["good", "half"]
    outcomes = label_scenes(inputs[1:2], tmp_path / "t.csv", str(weights), groups=table, compute=COMPUTE)
    assert outcomes[0].exit_code == 65 and not (tmp_path / "t.csv").exists()
    with pytest.raises(FormatError):
        label_scenes(inputs, tmp_path / "t.csv", str(weights), groups=table, compute=COMPUTE, fail_fast=True)
    assert not (tmp_path / "t.csv").exists()


def test_weights_that_give_no_numbers_are_told(tmp_path: Path, places: tuple[torch.nn.Module, Path, Path]) -> None:
    model = network()
    with torch.no_grad():
        model.fc.bias[0] = float("nan")  # type: ignore[index,operator]
    path = save(model, tmp_path / "nan.pth.tar")
    write_pictures(tmp_path / "a", [picture(64, 64)])
    (outcome,) = label_scenes([tmp_path / "a"], tmp_path / "s.csv", str(path), groups=places[2], compute=COMPUTE)
    assert outcome.status == "failed" and "gives no numbers for a frame; its weights are damaged" in outcome.message


def test_where_scenes_go(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    assert default_out([frames]) == Path("scenes.csv")
    (frames / "frames.jsonl").write_text("")
    assert default_out([frames]) == frames / "scenes.csv"
    assert default_out([frames, frames]) == default_out([frames], "msls") == default_out(["-"]) == Path("scenes.csv")


def test_what_is_refused_before_any_work(
    places: tuple[torch.nn.Module, Path, Path], tmp_path: Path, clip_folder: Path
) -> None:
    _, weights, table = places
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "frames.jsonl").write_text(
            '{"video_id": "v", "frame_index": 0, "time_s": 0, "path": "v/0.jpg"}\n'
        )
    with pytest.raises(UsageError, match=r"one/frames.jsonl:v and .*two/frames.jsonl:v: are both clip v"):
        label_scenes([tmp_path / "one", tmp_path / "two"], tmp_path / "s.csv", str(weights), groups=table)
    with pytest.raises(UsageError, match="stdout takes the scenes already"):
        label_scenes([tmp_path / "one"], "-", report=Path("-"))
    (tmp_path / "one/scenes.csv").write_text("by hand")
    with pytest.raises(OutputError, match=r"scenes\.csv: exists"):
        label_scenes([tmp_path / "one"])
    with pytest.raises(UsageError, match="--groups TABLE; get https://docs"):
        load_scene_classifier(str(weights), COMPUTE)
    with pytest.raises(UsageError, match="--weights: goes with --classifier clip"):
        load_scene_classifier(str(weights), COMPUTE, groups=table, weights={"clip": "x"})
    with pytest.raises(UsageError, match="--set: goes with --classifier clip"):
        load_scene_classifier(str(weights), COMPUTE, groups=table, settings=["crop=squash"])
    with pytest.raises(UsageError, match="goes with a Places365 network"):
        load_scene_classifier("clip", COMPUTE, groups=table)
    with pytest.raises(MissingModelError) as caught:
        load_scene_classifier("clip", COMPUTE, offline=True)
    assert "--classifier PATH, a Places365 network" in str(caught.value) and "gist" not in str(caught.value)


def test_half_a_clip_is_not_enough(clip_folder: Path, tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPVisionModelWithProjection

    config = CLIPConfig.from_pretrained(clip_folder).vision_config
    config.projection_dim = 24
    CLIPVisionModelWithProjection.from_pretrained(clip_folder, config=config).save_pretrained(tmp_path / "half")
    with pytest.raises(FormatError) as caught:
        load_scene_classifier("clip", COMPUTE, weights={"clip": str(tmp_path / "half")})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_both_halves_of_an_open_clip_checkpoint(tmp_path: Path) -> None:
    import open_clip

    torch.manual_seed(0)
    model: Any = open_clip.create_model("RN50-quickgelu", pretrained=None).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "rn50.pt")
    name, images = "clip:RN50-quickgelu/openai", torch.from_numpy(np.stack([picture(224, 224, s) for s in range(3)]))
    labels = load_scene_classifier(name, COMPUTE, weights={name: str(tmp_path / "rn50.pt")})
    mean, std = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
    pixels = (images / 255 - torch.tensor(mean)) / torch.tensor(std)
    prompts = open_clip.get_tokenizer("RN50-quickgelu")([f"a photo of {words}." for words in DESCRIPTIONS.values()])
    with torch.no_grad():
        seen, said = model.encode_image(pixels.permute(0, 3, 1, 2)), model.encode_text(prompts, normalize=True)
    torch.testing.assert_close(labels.encoder(images) @ labels.scores_DG, seen @ said.T, rtol=1e-3, atol=1e-4)
