"""The loop: phases, steps, accumulation, randomness, and what happens when the loss breaks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch import Tensor
from worlds import Tiny, TinyConfig, same

from vgeo.device import Compute
from vgeo.errors import SettingError
from vgeo.formats.features import FeatureFile
from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods.base import Clips
from vgeo.methods.cityguessr import CityGuessr
from vgeo.methods.vidtag import VidTag
from vgeo.training.curve import Curve
from vgeo.training.data import usable_frames
from vgeo.training.evaluate import gallery_keys, validate
from vgeo.training.loop import Loop, Options, Position
from vgeo.training.store import FeatureStore
from vgeo.training.truth import ClipTruth

CPU = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    return worlds.write_features(tmp_path_factory.mktemp("loop") / "f.h5", 10)


def make(features: FeatureFile, options: Options | None = None, **config: object) -> Loop:
    torch.manual_seed(0)
    method = Tiny(TinyConfig(**config))  # type: ignore[arg-type]
    store = FeatureStore([features], usable_frames([features]), ["gist"], CPU)
    return Loop(method, store, options or Options(), CPU)


def weights(loop: Loop) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in loop.method.state_dict().items()}


def test_each_phase_moves_only_its_parameters(features: FeatureFile) -> None:
    loop = make(features)
    seen = {}
    before = weights(loop)
    for result in loop.run():
        seen[result.phase, result.epoch] = result
        if result.last_of_phase:
            now = weights(loop)
            moved = {name.partition(".")[0] for name in now if not torch.equal(now[name], before[name])}
            assert moved == {result.phase}
            before = now
    assert list(seen) == [(phase, epoch) for phase in ("body", "head") for epoch in (1, 2, 3)]
    assert [result.step for result in seen.values()] == [3, 6, 9, 3, 6, 9], "ten clips, four a step: three steps"
    # Epoch 2 ends with step 6 of a warm-up of 4: the decayed rate.
    assert seen["body", 1].learning_rate == pytest.approx(1e-2 * 3 / 4)
    assert seen["body", 2].learning_rate == pytest.approx(1e-2 * 0.9)
    assert seen["head", 3].losses["half"] == pytest.approx(seen["head", 3].losses["total"] / 2)
    assert seen["head", 3].losses["total"] < seen["body", 1].losses["total"] / 2


def test_what_a_phase_does_not_train_costs_no_gradient(features: FeatureFile) -> None:
    loop = make(features)
    inner, seen = loop.method.loss, []

    def loss(clips, phase, generator):  # type: ignore[no-untyped-def]
        wanted = {name.partition(".")[0] for name, p in loop.method.named_parameters() if p.requires_grad}
        seen.append((phase, wanted, loop.method.training))
        return inner(clips, phase, generator)

    loop.method.loss = loss  # type: ignore[method-assign]
    for _ in loop.run():
        loop.method.eval()  # as measuring between epochs leaves it: dropout comes back
    assert len(seen) == 18
    assert all(wanted == {phase} and training for phase, wanted, training in seen)


def test_a_phase_begins_once_and_not_when_taken_up_within(features: FeatureFile) -> None:
    begun: list[tuple[str, set[str]]] = []

    def watched(loop: Loop) -> Loop:
        loop.method.begin = lambda phase: begun.append((phase, {loop.position.epoch}))  # type: ignore[method-assign]
        return loop

    list(watched(make(features)).run())
    assert begun == [("body", {0}), ("head", {0})]
    for position, expected in (
        (Position(0, 2, 6), ["head"]), (Position(0, 3, 9), ["head"]), (Position(1, 1, 3), []), (Position(1, 3, 9), []),
    ):  # fmt: skip
        begun.clear()
        loop = watched(make(features))
        loop.position = position
        list(loop.run())
        assert [phase for phase, _ in begun] == expected


def test_a_saved_optimiser_is_put_into_its_own_phase_alone(features: FeatureFile) -> None:
    for position, times in ((Position(0, 2, 6), 1), (Position(0, 3, 9), 0), (Position(1, 1, 3), 1)):
        given: list[int] = []
        loop = make(features)
        loop.position = position
        list(loop.run(restore=lambda _, loop=loop, given=given: given.append(loop.position.phase)))
        assert given == [position.phase] * times, position


def test_only_the_phase_asked_for_is_trained_and_draws_what_it_would_after_the_others(features: FeatureFile) -> None:
    both, alone = make(features), make(features, Options(phase="head"))
    for result in both.run():
        if result.phase == "body":
            alone.method.load_state_dict(both.method.state_dict())
    assert alone.total_steps() == 9
    assert [(result.phase, result.epoch) for result in alone.run()] == [("head", epoch) for epoch in (1, 2, 3)]
    assert same(weights(both), weights(alone))


def test_phases_that_an_instance_leaves_out_are_not_trained(features: FeatureFile) -> None:
    loop = make(features)
    loop.method.phases = ("body",)
    assert loop.total_steps() == 9
    assert {result.phase for result in loop.run()} == {"body"}


@pytest.mark.parametrize("clip_frames", [4, 12, None])
def test_pieces_of_a_batch_add_up_to_the_batch(features: FeatureFile, clip_frames: int | None) -> None:
    # 12 frames of clips of 5 to 14: the pieces hold different numbers of true frames.
    whole, pieces = (
        make(features, Options(accumulate=n, batch_size=8), clip_frames=clip_frames, epochs=1) for n in (1, 3)
    )
    for loop in (whole, pieces):
        for _ in loop.run():
            pass
    a, b = weights(whole), weights(pieces)
    assert not same(a, weights(make(features)))
    for name in a:
        assert torch.allclose(a[name], b[name], atol=1e-6), name


def test_golden_losses_of_twenty_steps(features: FeatureFile) -> None:
    loop = make(features, Options(batch_size=1, seed=3), clip_frames=2, epochs=2, dropout=0.1, noise=0.01)
    losses = [result.losses["total"] for result in loop.run()]
    assert loop.position == Position(1, 2, 20)
    assert losses == pytest.approx(GOLDEN, rel=1e-4)


GOLDEN = [0.7311137938, 0.2958752105, 0.1469282625, 0.0686051178]


def test_a_run_is_a_function_of_its_seed(features: FeatureFile) -> None:
    def end(seed: int) -> dict[str, Tensor]:
        loop = make(features, Options(seed=seed), dropout=0.3, noise=0.1)
        for _ in loop.run():
            torch.rand(7)  # what happens between epochs must not matter
            np.random.rand(3)
        return weights(loop)

    assert same(end(1), end(1))
    assert not same(end(1), end(2))


def test_options_override_the_recipe(features: FeatureFile) -> None:
    loop = make(features, Options(epochs=1, batch_size=100))
    assert loop.total_steps() == 2
    assert [result.step for result in loop.run()] == [1, 1]
    assert loop.total_steps() == 0


def test_weights_spoilt_by_the_last_step_are_not_kept(features: FeatureFile) -> None:
    """The square root of nothing is a fine loss, but its slope is infinite; no later loss would tell."""
    loop = make(features, Options(batch_size=100), epochs=1)  # one step
    inner = loop.method.loss

    def loss(clips, phase, generator):  # type: ignore[no-untyped-def]
        terms = inner(clips, phase, generator)
        return terms | {"total": terms["total"] + (terms["total"] * 0).sqrt()}

    loop.method.loss = loss  # type: ignore[method-assign]
    with pytest.raises(SettingError, match="body is not finite at epoch 1, step 1"):
        list(loop.run())


def test_a_broken_loss_names_where(features: FeatureFile) -> None:
    loop = make(features)
    ends = []
    with pytest.raises(SettingError, match=r"body is not finite at epoch 2, step 2;.*lower learning rate"):
        for result in loop.run():
            ends.append(result.epoch)
            inner, calls = loop.method.loss, []

            def broken(clips, phase, generator, inner=inner, calls=calls):  # type: ignore[no-untyped-def]
                calls.append(1)
                terms = inner(clips, phase, generator)
                return {name: term * (float("nan") if len(calls) == 2 else 1) for name, term in terms.items()}

            loop.method.loss = broken  # type: ignore[method-assign]
    assert ends == [1]


@pytest.mark.slow  # the compiler's time
@pytest.mark.parametrize("case", ["tiny", "vidtag"])
def test_a_compiled_loss_is_the_same(features: FeatureFile, case: str) -> None:
    def losses(compiled: bool) -> list[float]:
        loop = make(features, Options(compile=compiled, epochs=2), clip_frames=6, noise=0.01)
        if case == "vidtag":
            torch.manual_seed(0)
            loop.method = VidTag(replace(VidTag.debug_config(), encoders=("gist",), feature_dims=(8,)))
        return [result.losses["total"] for result in loop.run()]

    assert losses(True) == pytest.approx(losses(False), rel=1e-3)


def test_what_cannot_be_compiled_is_said(features: FeatureFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda loss: loss)  # the compiler itself would meddle with what is raised
    loop = make(features, Options(compile=True))

    def broken(*_: object) -> dict[str, Tensor]:
        raise torch._dynamo.exc.TorchDynamoException("no such thing")

    loop.method.loss = broken  # type: ignore[method-assign]
    with pytest.raises(SettingError, match=r"loss of body cannot be compiled .*; leave out --compile"):
        next(loop.run())


def test_too_little_memory_names_what_helps(features: FeatureFile) -> None:
    loop = make(features)

    def full(*_: object) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    loop.method.loss = full  # type: ignore[method-assign]
    with pytest.raises(SettingError, match=r"batch of 4 in body.*--accumulate 2"):
        next(loop.run())


def test_validation_equals_a_search_by_hand(features: FeatureFile) -> None:
    loop = make(features, dropout=0.1)  # which measuring does without
    for _ in loop.run():
        pass
    rng = np.random.default_rng(0)
    gallery = Gallery(latlon_deg=np.array([52.0, 0.0]) + rng.uniform(-0.06, 0.06, (3000, 2)))
    found = validate(loop.method, loop.store, gallery, gallery_keys(loop.method, gallery, CPU.device))
    assert loop.method.training
    # By hand: the point of the gallery nearest to the regressed position, in the plane the model works in.
    with torch.no_grad():
        loop.method.eval()
        table = torch.from_numpy(np.asarray(features.features("gist"), np.float32))[:, None]
        points = loop.method.points(Clips(features={"gist": table}, mask_BT=torch.ones(len(table), 1)))[:, 0]  # type: ignore[operator]
    plane = (gallery.latlon_deg - [52.0, 0.0]) * 30
    cosine = np.c_[points, np.full(len(points), 4.0)] @ np.c_[plane, np.full(len(plane), 4.0)].T
    cosine /= np.linalg.norm(np.c_[plane, np.full(len(plane), 4.0)], axis=1)
    errors = distance_km(gallery.latlon_deg[cosine.argmax(1)], features.latlon_deg)
    assert found.frames == len(features)
    assert found.median_error_km == pytest.approx(np.median(errors), rel=1e-3)
    assert found.within["1"] == pytest.approx((errors <= 1).mean(), abs=0.02)
    assert list(found.within) == ["0.5", "1", "5", "25"]
    gallery_keys(loop.method, gallery, CPU.device)
    assert not loop.method.training, "as it was found"


def test_validation_measures_what_the_second_retrieval_answers(features: FeatureFile) -> None:
    torch.manual_seed(0)
    method = VidTag(replace(VidTag.debug_config(), encoders=("gist",), feature_dims=(8,))).eval()
    store = FeatureStore([features], usable_frames([features]), ["gist"], CPU)
    gallery = Gallery(latlon_deg=np.array([52.0, 0.0]) + np.random.default_rng(0).uniform(-0.06, 0.06, (300, 2)))
    keys = gallery_keys(method, gallery, CPU.device)
    answers = []
    with torch.no_grad():
        for video in range(len(features.video_ids)):
            table = torch.from_numpy(np.asarray(features.features("gist")[features.rows(video)], np.float32))[None]
            clip = Clips(features={"gist": table}, mask_BT=torch.ones(table.shape[:2], dtype=torch.bool))
            first = gallery.latlon_deg[(method.queries(clip)[0] @ keys.T).argmax(1)]
            again = gallery.latlon_deg[(method.refined(clip, torch.from_numpy(first)[None])[0] @ keys.T).argmax(1)]
            answers.append((first, again))
    first, again = (np.concatenate(some) for some in zip(*answers, strict=True))
    for phase, expected in (("align", first), ("refine", again)):
        method.begin(phase)
        found = validate(method, store, gallery, keys).median_error_km
        assert found == pytest.approx(np.median(distance_km(expected, features.latlon_deg)), rel=0.05), phase
    assert np.median(distance_km(first, again)) > 1  # what is told apart


def test_bf16_trains_too(features: FeatureFile) -> None:
    loop = make(features)
    loop.compute = Compute(torch.device("cpu"), torch.bfloat16)
    losses = [result.losses["total"] for result in loop.run()]
    assert losses[-1] < losses[0]
    assert all(value.dtype == torch.float32 for value in loop.method.state_dict().values())


def test_the_curve_is_thinned_evenly() -> None:
    curve = Curve()
    assert curve.note() == ""
    for i in range(1000):
        curve.add(1000.0 - i)
    drawn = curve.draw()
    assert 12 <= len(drawn) <= 24
    assert drawn[0] == "█"
    assert drawn[-1] == "▁"
    assert list(drawn) == sorted(drawn, reverse=True)
    assert curve.note().startswith("loss 1 ")


@pytest.mark.parametrize("tla_reduction", ["sum", "mean"])
def test_windows_weigh_alike_in_pieces_however_many_frames_they_repeat(tmp_path: Path, tla_reduction: str) -> None:
    """A step of pieces is that of the whole batch, also of the text's term, which is a sum."""
    file = worlds.write_features(tmp_path / "f.h5", {f"c{i}": 1 + 2 * (i % 3) for i in range(7)})
    generator = np.random.default_rng(0)
    city = generator.integers(0, 5, 7)
    classes = np.stack([city, city * 4 // 5, city * 3 // 5, city * 2 // 5], -1)
    truth = ClipTruth(classes, generator.dirichlet(np.ones(16), 7).astype(np.float32))
    ended = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        method = CityGuessr(replace(CityGuessr.debug_config(), feature_dim=8, rows=3, tla_reduction=tla_reduction))  # type: ignore[arg-type]
        up = (torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1]))
        method.adopt(up, torch.randn(5, 24, generator=torch.Generator().manual_seed(7)))
        store = FeatureStore([file], usable_frames([file]), ["gist"], CPU, truth=truth)
        loop = Loop(method, store, Options(accumulate=accumulate, batch_size=7, epochs=1), CPU)
        (result,) = loop.run()
        gradients = torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
        ended.append((result.losses, gradients))
    (whole, alone), (pieces, joined) = ended
    assert pieces == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(joined, alone, rtol=1e-4, atol=1e-6)


def test_a_clip_comes_in_a_window_of_its_method(tmp_path: Path) -> None:
    file = worlds.write_features(tmp_path / "f.h5", {f"c{i}": 40 for i in range(6)})
    method = CityGuessr(replace(CityGuessr.debug_config(), feature_dim=8, rows=4, windows="windows"))
    truth = ClipTruth(np.zeros((6, 4), np.int64), np.eye(16, dtype=np.float32)[:6])
    store = FeatureStore([file], usable_frames([file]), ["gist"], CPU, truth=truth)
    plan = Loop(method, store, Options(), CPU)._plan(method.recipe("classify"), 0, 0)
    assert (np.diff(plan.frame_IT, axis=1) == 1).all() and (plan.frame_IT[:, 0] % 4 == 0).all()
    assert sorted(plan.frame_IT[:, 0] // 40) == list(range(6))


def test_parameters_go_at_the_rates_that_the_method_says(
    features: FeatureFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make(features, epochs=1)
    monkeypatch.setattr(loop.method, "rate_factor", lambda name: 0.0 if name == "body.bias" else 1.0)
    before = weights(loop)
    next(loop.run())
    still = {name for name, value in weights(loop).items() if torch.equal(value, before[name])}
    assert {name for name in still if name.startswith("body")} == {"body.bias"}
