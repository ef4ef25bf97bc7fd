"""CityGuessr against the published head's tensors, and against losses and answers written out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders._windows import Windows
from vgeo.geo.hierarchy import number_places
from vgeo.methods._classes import mean_of, softmaxes, verdict
from vgeo.methods.base import OWN, Clips, Truth
from vgeo.methods.cityguessr import CityGuessr, CityGuessrConfig
from vgeo.training.sampling import plan_epoch, stream

NAMES = {  # ours -> published
    **{f"heads.{i}": f"classifier_{level}" for i, level in enumerate(("city", "state", "country", "continent"))},
    "attention.query": "query_projection",
    "attention.key": "key_projection",
    "attention.value": "value_projection",
    "attention.attention": "mha",
    "attention.out": "final_projection",
    "scene": "out_linear",
    "text": "text_linear",
}
PUBLISHED = CityGuessrConfig(backbone="features", init="scratch", standardize=False)


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, Tensor]:
    return load_file(shared_dir / "golden" / "cityguessr_head.safetensors")


@pytest.fixture
def published(golden: dict[str, Tensor]) -> CityGuessr:
    method = CityGuessr(PUBLISHED)
    state = {}
    for name in method.state_dict():
        ours = next(prefix for prefix in NAMES if name.startswith(prefix + "."))
        state[name] = golden["weights." + NAMES[ours] + name.removeprefix(ours)]
    method.load_state_dict(state)
    return method


def clips_of(golden: dict[str, Tensor]) -> Clips:
    features = golden["io.features"]
    return Clips(
        features={"videomae": features[:, None]},
        mask_BT=torch.ones(len(features), 1, dtype=torch.bool),
        truth=Truth(class_BL=golden["io.labels"].long(), scene_BP=golden["io.scene_target"].float()),
    )


def adopt_texts(method: CityGuessr, golden: dict[str, Tensor]) -> None:
    """Give each clip's city its text, as far as the six clips name it."""
    up = tuple(torch.zeros(count, dtype=torch.int64) for count in method.config.classes[:-1])
    text = torch.ones(method.config.classes[0], method.config.text_dim)
    for city, vector in zip(golden["io.labels"][:, 0].long(), golden["io.text_target"], strict=True):
        text[city] = vector.float()
    method.adopt(up, text)


def test_the_published_head_comes_out(published: CityGuessr, golden: dict[str, Tensor]) -> None:
    assert len(set(golden["io.labels"][:, 0].tolist())) == 6, "each clip of another city, so each has its own text"
    logits = published.logits(clips_of(golden))
    for level, found in zip(("city", "state", "country", "continent"), logits, strict=True):
        torch.testing.assert_close(found, golden[f"io.{level}"], atol=1e-5, rtol=1e-5)
    mixed = published.attention(torch.cat(logits, -1))
    torch.testing.assert_close(published.scene(mixed), golden["io.scene"], atol=1e-5, rtol=1e-5)
    # Values up to 63: the golden ones are themselves 2.5e-5 off what float64 gives.
    error = (published.text(mixed) - golden["io.text"]).abs().max()
    assert error <= 1e-5 * golden["io.text"].abs().max() and error < 5e-5


def test_the_published_losses_come_out(published: CityGuessr, golden: dict[str, Tensor]) -> None:
    adopt_texts(published, golden)
    terms = published.loss(clips_of(golden), "classify", torch.Generator())
    assert terms["geo"].item() == pytest.approx(golden["io.loss_geo"].item(), abs=1e-5)
    assert terms["scene"].item() == pytest.approx(golden["io.loss_scene"].item(), abs=1e-5)
    assert terms["text"].item() == pytest.approx(golden["io.loss_tla_sum"].item(), abs=1e-5)
    assert terms["total"].item() == pytest.approx(sum(terms[name].item() for name in ("geo", "scene", "text")))
    mean = CityGuessr(CityGuessrConfig(backbone="features", init="scratch", standardize=False, tla_reduction="mean"))
    mean.load_state_dict(published.state_dict())
    adopt_texts(mean, golden)
    found = mean.loss(clips_of(golden), "classify", torch.Generator())["text"]
    assert found.item() == pytest.approx(golden["io.loss_tla_mean"].item(), abs=1e-5)


def test_sizes_are_the_published_ones() -> None:
    method = CityGuessr(PUBLISHED)

    def numbers(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    assert numbers(method.heads) == 161_700
    assert numbers(method.scene) == 151_808
    assert numbers(method.text) == 435_290
    assert numbers(method.attention.attention) == 168
    assert numbers(method.attention) - 168 == 43
    assert [m.out_features for m in method.text if hasattr(m, "out_features")] == [466, 512]
    assert [m.out_features for m in method.scene if hasattr(m, "out_features")] == [256, 128, 64, 32, 16, 16]


def tiny(**changes: object) -> CityGuessr:
    torch.manual_seed(3)
    settings = {"backbone": "features", "init": "scratch", "encoder": "gist", "feature_dim": 6, "classes": (4, 3, 2)}
    return CityGuessr(CityGuessrConfig(**{**settings, "scenes": "none", "text": "none", **changes}))  # type: ignore[arg-type]


UP = (torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1]))


def batch(method: CityGuessr, clips: int = 5, seed: int = 0) -> Clips:
    generator = torch.Generator().manual_seed(seed)
    city = torch.randint(4, (clips,), generator=generator)
    state = UP[0][city]
    scenes = torch.rand(clips, 16, generator=generator)
    return Clips(
        features={"gist": torch.randn(clips, 2, method.config.feature_dim, generator=generator)},
        mask_BT=torch.ones(clips, 2, dtype=torch.bool),
        truth=Truth(
            class_BL=torch.stack([city, state, UP[1][state]], -1), scene_BP=scenes / scenes.sum(1, keepdim=True)
        ),
    )


def test_unknown_labels_add_nothing_in_whatever_pieces_a_batch_comes() -> None:
    method = tiny(scenes="soft")
    clips = batch(method)
    assert clips.truth is not None and clips.truth.scene_BP is not None
    classes, scenes = clips.truth.class_BL.clone(), clips.truth.scene_BP.clone()
    classes[1, 2], scenes[3] = -1, 0
    terms = method.loss(
        Clips(features=clips.features, mask_BT=clips.mask_BT, truth=Truth(class_BL=classes, scene_BP=scenes)),
        "classify", torch.Generator(),
    )  # fmt: skip
    logits = method.logits(clips)
    expected = 0.0
    for level, x in enumerate(logits):
        known = [b for b in range(5) if classes[b, level] >= 0]
        shares = torch.softmax(x.detach().double(), 1)
        expected += sum(-math.log(float(shares[b, classes[b, level]])) for b in known) / 5
    assert terms["geo"].item() == pytest.approx(expected, rel=1e-5)
    said = torch.log_softmax(method.scene(method.attention(torch.cat(logits, -1))), -1)
    by_hand = sum(-float((scenes[b] * said[b].detach()).sum()) for b in (0, 1, 2, 4)) / 5
    assert terms["scene"].item() == pytest.approx(by_hand, rel=1e-5)
    pieces = 0.0
    for piece in (slice(0, 2), slice(2, 5)):  # the first lacks a class, the second scenes
        part = Truth(class_BL=classes[piece], scene_BP=scenes[piece])
        features = {"gist": clips.features["gist"][piece]}
        share = len(part.class_BL) / 5
        some = Clips(features=features, mask_BT=clips.mask_BT[piece], truth=part, share=share)
        pieces += share * method.loss(some, "classify", torch.Generator())["total"].item()
    assert pieces == pytest.approx(terms["total"].item(), rel=1e-5)


def test_the_majority_is_the_group_of_most_frames() -> None:
    soft, majority = tiny(scenes="soft"), tiny(scenes="majority")
    clips = batch(soft)
    assert clips.truth is not None and clips.truth.scene_BP is not None
    logits = majority.scene(majority.attention(torch.cat(majority.logits(clips), -1)))
    expected = F.cross_entropy(logits, clips.truth.scene_BP.argmax(1))
    found = [m.loss(clips, "classify", torch.Generator())["scene"].item() for m in (soft, majority)]
    assert found[1] == pytest.approx(expected.item(), rel=1e-5)
    assert found[0] == pytest.approx(F.cross_entropy(logits, clips.truth.scene_BP).item(), rel=1e-5)


def by_hand(probability: list[np.ndarray], multiply: bool, evaluation: str) -> tuple[list[int], list[np.ndarray]]:
    """Table 4's rows for one clip, class by class."""
    up = [step.tolist() for step in UP]
    chain = [[c, up[0][c], up[1][up[0][c]]] for c in range(4)]
    scores = [p.copy() for p in probability]
    if multiply:
        for c in range(4):
            scores[0][c] = math.prod(float(probability[level][chain[c][level]]) for level in range(3))
        for s in range(3):
            scores[1][s] = float(probability[1][s]) * float(probability[2][up[1][s]])
    if evaluation == "independent":
        return [int(np.argmax(one)) for one in scores], scores
    return chain[int(np.argmax(scores[0]))], scores


@pytest.mark.parametrize("evaluation", ["codependent", "independent"])
@pytest.mark.parametrize("multiply", [True, False])
def test_answers_are_those_of_table_4(multiply: bool, evaluation: str) -> None:
    method = tiny(multiply=multiply, evaluation=evaluation)
    method.adopt(UP)
    generator = torch.Generator().manual_seed(1)
    probability = tuple(torch.softmax(2 * torch.randn(200, n, generator=generator), -1) for n in (4, 3, 2))
    found = verdict(method, probability)
    different = 0
    for clip in range(200):
        answer, scores = by_hand([p[clip].numpy() for p in probability], multiply, evaluation)
        assert found.answer_NL[clip].tolist() == answer
        different += answer != [int(p[clip].argmax()) for p in probability]
        for level, score in enumerate(scores):
            mean = score ** (1 / (3 - level)) if multiply else score  # the geometric mean has the order of Eq. 5
            np.testing.assert_allclose(found.scores[level][clip].numpy(), mean / mean.sum(), rtol=1e-5)
    assert (different == 0) == (not multiply and evaluation == "independent")  # which is table 4's first row


def test_windows_of_a_clip_are_averaged() -> None:
    p = torch.softmax(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), -1)
    (found,) = mean_of((p,), torch.tensor([1, 0, 1, 1, 0]), 2)
    torch.testing.assert_close(found, torch.stack([(p[1] + p[4]) / 2, (p[0] + p[2] + p[3]) / 3]))


def test_rows_that_are_masked_do_not_count_and_features_are_standardized() -> None:
    method = tiny()
    features = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    method.see(features.flatten(0, 1) * 3 + 1)
    scaled = (features * 3 + 1 - method.feature_mean) / method.feature_std
    expected = method.heads[0](torch.stack([scaled[0].mean(0), scaled[1, :2].mean(0)]))
    found = method.logits(Clips(features={"gist": features * 3 + 1}, mask_BT=mask))[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_pieces_of_a_batch_sum_to_the_published_loss() -> None:
    """Cosines are summed over the batch and the rest averaged, however many pieces the batch comes in."""
    method = tiny(scenes="soft", text="city", text_dim=12)
    method.adopt(UP, torch.randn(4, 12, generator=torch.Generator().manual_seed(2)))
    whole = batch(method, 6)
    total = method.loss(whole, "classify", torch.Generator())["total"]
    assert whole.truth is not None and whole.truth.scene_BP is not None
    summed = 0.0
    for piece in (slice(0, 4), slice(4, 6)):
        share = (piece.stop - piece.start) / 6
        part = Clips(
            features={"gist": whole.features["gist"][piece]}, mask_BT=whole.mask_BT[piece], share=share,
            truth=Truth(class_BL=whole.truth.class_BL[piece], scene_BP=whole.truth.scene_BP[piece]),
        )  # fmt: skip
        summed += share * method.loss(part, "classify", torch.Generator())["total"].item()
    assert summed == pytest.approx(total.item(), rel=1e-5)


def test_thousands_of_places_fit() -> None:
    method = tiny(classes=(20_000, 3_000, 200, 6), scenes="soft")
    truth = Truth(class_BL=torch.tensor([[19_999, 2_999, 199, 5]]), scene_BP=torch.full((1, 16), 1 / 16))
    features = {"gist": torch.randn(1, 1, 6)}
    loss = method.loss(
        Clips(features=features, mask_BT=torch.ones(1, 1).bool(), truth=truth), "classify", torch.Generator()
    )
    loss["total"].backward()
    assert torch.isfinite(loss["total"])


def test_two_cities_of_one_level_are_enough() -> None:
    method = tiny(classes=(2,))
    method.adopt(())
    truth = Truth(class_BL=torch.tensor([[0], [1]]))
    clips = Clips(features={"gist": torch.randn(2, 1, 6)}, mask_BT=torch.ones(2, 1).bool(), truth=truth)
    assert torch.isfinite(method.loss(clips, "classify", torch.Generator())["total"])
    assert verdict(method, softmaxes(method.logits(clips))).answer_NL.shape == (2, 1)


def test_the_backbone_is_trained_with_the_rest_and_serves_as_an_encoder() -> None:
    shape = {"image_px": 32, "width": 24, "layers": 1, "heads": 2, "mlp": 48, "frames": 4}
    torch.manual_seed(0)
    method = CityGuessr(
        CityGuessrConfig(init="scratch", classes=(4, 3, 2), scenes="none", text="none", backbone_rate=0.1, **shape)  # type: ignore[arg-type]
    )
    assert method.frame_shape == (32, 32) and method.encoders == ()
    assert method.windows == Windows(length=4, rule="strided")
    frames = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8)
    truth = Truth(class_BL=torch.tensor([[0, 0, 0], [3, 2, 1]]))
    clips = Clips(frames_BTHWC=frames, mask_BT=torch.ones(2, 4).bool(), truth=truth)
    method.loss(clips, "classify", torch.Generator())["total"].backward()
    still = [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still
    rates = {method.rate_factor(name) for name, _ in method.named_parameters()}
    assert rates == {0.1, 1.0} and method.rate_factor("heads.0.weight") == 1.0
    assert method.backbone is not None
    rows = method.backbone(frames.permute(0, 1, 4, 2, 3) / 255)  # no normalisation, as in the published loader
    own = Clips(features={OWN: rows[:, None]}, mask_BT=torch.ones(2, 1).bool())
    for a, b in zip(method.logits(clips), method.logits(own), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"classes": (5, 4, 3, 2, 1)}, "one to four numbers"), ({"classes": ()}, "one to four numbers"),
        ({"flip": 1.5}, "flip must be in"), ({"crop": 0.0}, "crop in"), ({"learning_rate": 0.0}, "must be positive"),
        ({"attention_heads": 4}, "multiple of attention_heads"), ({"backbone": "videomae", "frames": 15}, "not 15"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**setting)


def test_the_levels_must_be_those_of_the_heads() -> None:
    with pytest.raises(ValueError, match="gallery's levels have"):
        tiny().adopt((torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)))


def test_the_hierarchy_leads_from_each_city_to_its_continent() -> None:
    hierarchy = number_places([("b", "s", "x"), ("a", "t", "y"), ("c", "s", "x")], ("city", "country", "continent"))
    method = tiny(classes=(3, 2, 2))
    method.adopt(tuple(torch.from_numpy(step) for step in hierarchy.up))
    scores = tuple(torch.eye(3)[:, :count] for count in (3, 2, 2))
    assert method.answers(scores).tolist() == hierarchy.chains().tolist()


def test_a_number_that_never_changes_is_not_divided_by() -> None:
    method = tiny()
    features = torch.randn(20, 6) * 3 + 1
    features[:, 2] = 0.25
    method.see(features)
    clips = Clips(features={"gist": features[:, None]}, mask_BT=torch.ones(20, 1).bool())
    seen = method._features(clips, None)
    torch.testing.assert_close(seen.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.tensor([1.0, 1, 0, 1, 1, 1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 3])
def test_features_are_averaged_over_so_many_rows(rows: int) -> None:
    """One is a window of a video encoder; frames=16 is of a backbone and says nothing here."""
    method = tiny(rows=rows)
    assert method.windows.length == rows == method.recipe("classify").clip_frames
    assert method.windows.rows(8).shape[1] == rows


def test_the_image_mae_sees_the_frame_it_is_set_to() -> None:
    """Table 2: first, middle or last is that in training, too; a random one is another in each epoch."""
    for frame, index in (("first", 0), ("middle", 5), ("last", 9)):
        method = CityGuessr(CityGuessrConfig(backbone="mae", frame=frame, image_px=32, width=16, layers=1, heads=2))  # type: ignore[arg-type]
        assert method.windows.rows(10, "a").tolist() == method.recipe("classify").windows.rows(10).tolist() == [[index]]
    method = CityGuessr(CityGuessrConfig(backbone="mae", image_px=32, width=16, layers=1, heads=2))
    assert len({int(method.windows.rows(10, name)[0, 0]) for name in "abcdefgh"}) > 2
    recipe, drawn = method.recipe("classify"), set()
    for epoch in range(120):
        plan = plan_epoch(np.array([0, 10]), recipe.clip_frames, 1, stream(0, 0, epoch), False, recipe.windows)
        drawn.add(int(plan.frame_IT[0, 0]))
    assert drawn == set(range(10))
