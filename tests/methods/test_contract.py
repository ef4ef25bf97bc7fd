"""Every method keeps the contract: it trains, saves, loads strictly and answers alike, on random features."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from vgeo import methods
from vgeo.device import Compute
from vgeo.encoders.base import EncoderSpec
from vgeo.formats.checkpoints import save_model
from vgeo.formats.gallery import Gallery
from vgeo.methods._classes import softmaxes, verdict
from vgeo.methods.base import OWN, Classifier, Clips, Method, Places, Retriever, Truth
from vgeo.methods.settings import from_dict, to_dict
from vgeo.stages.localizer import ClipQuery, Localizer
from vgeo.stages.models import Model, load_model

WIDTH = 32  # of an encoder whose width the settings do not name
COMPUTE = Compute(torch.device("cpu"), torch.float32)


def widths(method: Method) -> dict[str, int]:
    """Width of each encoder that the method reads; one of the gallery's choice when it takes any."""
    several = dict(zip(method.encoders, getattr(method.config, "feature_dims", ()), strict=False))
    return several or {name: getattr(method.config, "feature_dim", WIDTH) for name in method.encoders or ("gist",)}


def specs(method: Method) -> dict[str, EncoderSpec]:
    return {
        name: EncoderSpec(name=name, dim=dim, weights="-", weights_hash="h", preprocessing="-", settings={})
        for name, dim in widths(method).items()
    }


def pictures_of(method: Method, frames: int, seed: int = 0) -> Clips:
    """Clips whose frames and tiles are of the same shade, different for each clip, under noise."""
    generator = torch.Generator().manual_seed(seed)
    assert method.frame_shape is not None

    def shown(*shape: int) -> torch.Tensor:
        shade = torch.linspace(30, 180, 6 * 3).view(3, 6).T.reshape(6, *[1] * len(shape), 3)
        return (shade + 60 * torch.rand(6, *shape, 3, generator=generator)).to(torch.uint8)

    return Clips(
        mask_BT=torch.ones(6, frames, dtype=torch.bool),
        frames_BTHWC=shown(frames, *method.frame_shape),
        tiles_BSSC=shown(64, 64),
    )


def clips_of(method: Method, frames: int, seed: int = 0) -> Clips:
    """Clips whose features tell the positions, with padding."""
    if method.gallery_kind in ("tiles", "regions"):
        return pictures_of(method, frames, seed)
    generator = torch.Generator().manual_seed(seed)
    latlon = torch.rand(6, frames, 2, generator=generator, dtype=torch.float64) * 20 + 40
    features = {}
    for name, dim in widths(method).items():
        mixing = torch.randn(2, dim, generator=torch.Generator().manual_seed(9))
        features[name] = torch.tanh((latlon.float() - 50) / 5 @ mixing)
    mask = torch.ones(6, frames, dtype=torch.bool)
    if frames > 1:
        mask[0, -1] = False
    truth = truth_of(method, latlon) if isinstance(method, Classifier) else None
    return Clips(features=features, mask_BT=mask, latlon_deg=latlon, truth=truth)


def truth_of(method: Method, latlon: torch.Tensor) -> Truth:
    """Classes and scenes that go with the position of a clip's first frame."""
    share = (latlon[:, 0, 0] - 40) / 20
    classes = [(share * count).long().clamp(max=count - 1) for count in method.config.classes]
    scenes = torch.softmax(torch.outer(share.float() * 5, torch.linspace(-1, 1, 16)), -1)
    return Truth(class_BL=torch.stack(classes, -1), scene_BP=scenes)


def adopt(method: Classifier) -> None:
    counts = method.config.classes
    up = tuple(torch.arange(fine) * coarse // fine for fine, coarse in pairwise(counts))
    text = torch.randn(counts[0], method.config.text_dim, generator=torch.Generator().manual_seed(5))
    method.adopt(up, text)


def gallery_of(method: Method, clips: Clips) -> Gallery:
    assert clips.latlon_deg is not None
    of_features = method.gallery_kind == "features"
    return Gallery(
        latlon_deg=clips.latlon_deg.reshape(-1, 2).numpy(),
        features={n: f.reshape(-1, f.shape[-1]).half().numpy() for n, f in clips.features.items()}
        if of_features
        else {},
        encoders=specs(method) if of_features else {},
    )


@pytest.fixture(params=methods.names())
def method(request: pytest.FixtureRequest) -> Method:
    torch.manual_seed(0)
    cls = methods.get(request.param)
    made = cls(cls.debug_config())
    if isinstance(made, Classifier):
        adopt(made)
    return made


def test_settings_survive_json(method: Method) -> None:
    assert from_dict(type(method.config), to_dict(method.config)) == method.config


def test_embeddings_are_normalised_rows(method: Method) -> None:
    if not isinstance(method, Retriever):
        pytest.skip("it has no embeddings")
    if method.gallery_kind in ("tiles", "regions"):
        check_pictures(method)
        return
    clips = clips_of(method, frames=5)
    assert clips.latlon_deg is not None
    flat = {name: f.reshape(-1, f.shape[-1]) for name, f in clips.features.items()}
    queries, keys = (
        method.queries(clips),
        method.keys(Places(latlon_deg=clips.latlon_deg.reshape(-1, 2), features=flat)),
    )
    assert queries.shape[:2] == (6, 5)
    assert keys.shape == (30, queries.shape[2])
    assert torch.allclose(queries[clips.mask_BT].norm(dim=-1), torch.ones(29), atol=1e-5)
    assert torch.allclose(keys.norm(dim=-1), torch.ones(30), atol=1e-5)
    assert method.scale > 0


def check_pictures(method: Retriever) -> None:
    """A clip as a whole has an embedding, its tile has one, and what was embedded before is taken as it is."""
    frames = method.windows.length if method.windows else 5
    clips = pictures_of(method, frames)
    with torch.no_grad():
        queries, keys = method.eval().queries(clips), method.keys(tiles_of(clips))
    assert queries.shape == (6, 1, keys.shape[1]) and len(keys) == 6
    assert torch.allclose(torch.cat([queries[:, 0], keys]).norm(dim=-1), torch.ones(12), atol=1e-5)
    again = method.queries(Clips(mask_BT=torch.ones(1, 6, dtype=torch.bool), features={OWN: queries.transpose(0, 1)}))
    assert torch.allclose(again, queries.transpose(0, 1), atol=1e-6)
    assert method.scale > 0


def tiles_of(clips: Clips) -> Places:
    assert clips.tiles_BSSC is not None
    return Places(latlon_deg=torch.zeros(len(clips.tiles_BSSC), 2, dtype=torch.float64), tiles_GSSC=clips.tiles_BSSC)


def test_training_lowers_the_loss_and_moves_every_parameter(method: Method) -> None:
    for phase in method.phases:
        recipe = method.recipe(phase)
        clips = clips_of(method, frames=recipe.clip_frames or 1)
        parameters = method.trainable(phase)
        before = [parameter.detach().clone() for parameter in parameters]
        optimizer = torch.optim.Adam(parameters, lr=recipe.learning_rate)
        losses = []
        for _ in range(12):
            optimizer.zero_grad()
            loss = method.loss(clips, phase, torch.Generator().manual_seed(1))["total"]
            loss.backward()
            losses.append(loss.item())
            missing = [tuple(p.shape) for p in parameters if p.grad is None or not p.grad.abs().sum() > 0]
            assert not missing, f"no gradient reaches {missing}"
            optimizer.step()
        assert losses[-1] < losses[0]
        assert all(not torch.equal(a, b) for a, b in zip(before, parameters, strict=True))


def test_the_loss_takes_its_randomness_from_the_generator(method: Method) -> None:
    method.eval()
    for phase in method.phases:
        clips = clips_of(method, frames=method.recipe(phase).clip_frames or 1)
        a, b = (method.loss(clips, phase, torch.Generator().manual_seed(3))["total"] for _ in range(2))
        assert torch.equal(a, b)


def test_a_saved_model_answers_alike(method: Method, tmp_path: Path) -> None:
    name = type(method).__module__.rpartition(".")[2]
    own = specs(method) if method.encoders else {}
    digest = save_model(
        tmp_path / "m", method=name, config=to_dict(method.config), encoders=own, state=method.state_dict()
    )
    method.eval()
    kept = Model(name=name, method=method, encoders=own, hash=digest, folder=None, gallery=None)
    loaded = load_model(tmp_path / "m")
    assert loaded.hash == digest
    if method.gallery_kind in ("tiles", "regions"):
        clips = pictures_of(method, method.windows.length if method.windows else 5)
        with torch.no_grad():
            answers = [torch.cat([m.queries(clips)[:, 0], m.keys(tiles_of(clips))]) for m in (method, loaded.retriever)]
        assert torch.equal(*answers)
        return
    clips = clips_of(method, frames=7)
    query = ClipQuery(
        video_id="v",
        source="v.mp4",
        features={n: f[1].detach().numpy() for n, f in clips.features.items()},
        time_s=np.arange(7.0),
    )
    if isinstance(method, Classifier):
        check_classes(kept, loaded, clips)
        return
    answers = [Localizer(model, gallery_of(method, clips), COMPUTE)(query) for model in (kept, loaded)]
    assert np.array_equal(answers[0].candidates_deg, answers[1].candidates_deg)
    assert np.array_equal(answers[0].candidate_scores, answers[1].candidate_scores)
    found = answers[0]
    assert found.candidates_deg.shape == (7, 5, 2)
    assert (np.diff(found.candidate_scores) <= 0).all()
    assert ((found.confidence >= found.candidate_scores[:, 0] - 1e-6) & (found.confidence <= 1)).all()
    assert len(found.places) == 7


def check_classes(kept: Model, loaded: Model, clips: Clips) -> None:
    """Both give the same logits, and their probabilities sum to one."""
    answers = [model.classifier.logits(clips) for model in (kept, loaded)]
    assert len(answers[0]) == len(kept.method.config.classes)
    for ours, theirs, count in zip(*answers, kept.method.config.classes, strict=True):
        assert torch.equal(ours, theirs) and ours.shape == (6, count)
    found = verdict(kept.classifier, softmaxes(answers[0]))
    assert all(torch.allclose(scores.sum(1), torch.ones(6)) for scores in found.scores)
