"""VidTAG against its paper: each part beside a slow, literal version of the text, and what must hold of any clip."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.geo.sphere import distance_km
from vgeo.layers.sequence import in_windows, sinusoids
from vgeo.methods._vidtag_refine import Noise, alignment_loss, as_clips, corrupt, draw_noise, stray
from vgeo.methods.base import Clips, Places
from vgeo.methods.vidtag import TempGeo, VidTag, VidTagConfig


def debug(**changes: object) -> VidTag:
    torch.manual_seed(0)
    return VidTag(dataclasses.replace(VidTag.debug_config(), **changes)).eval()


def batch(lengths: list[int], seed: int = 0, spread: float = 1e-2) -> Clips:
    """Clips of these lengths, padded to the longest with features and positions that must not matter."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    latlon = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * spread + 50
    clip, dinov2 = (torch.randn(*shape, dim, generator=generator) for dim in (24, 32))
    return Clips(features={"clip": clip, "dinov2": dinov2}, mask_BT=mask, latlon_deg=latlon)


def alone(clips: Clips, number: int) -> Clips:
    """One clip without its padding."""
    rows = clips.mask_BT[number]
    assert clips.latlon_deg is not None
    return Clips(
        features={name: f[number, rows][None] for name, f in clips.features.items()},
        mask_BT=torch.ones(1, int(rows.sum()), dtype=torch.bool),
        latlon_deg=clips.latlon_deg[number, rows][None],
    )


# ---- the modules


def literal_attention(q_in: Tensor, kv_in: Tensor, a: torch.nn.MultiheadAttention) -> Tensor:
    """Multi-head attention of one clip, head by head and frame by frame."""
    d, heads = q_in.shape[-1], a.num_heads
    size = d // heads
    wq, wk, wv = a.in_proj_weight.split(d)
    bq, bk, bv = a.in_proj_bias.split(d)
    q, k, v = q_in @ wq.T + bq, kv_in @ wk.T + bk, kv_in @ wv.T + bv
    out = torch.zeros_like(q)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for t in range(len(q)):
            weight = torch.softmax(torch.stack([q[t, part] @ key[part] / math.sqrt(size) for key in k]), 0)
            out[t, part] = sum(w * value[part] for w, value in zip(weight, v, strict=True))
    return out @ a.out_proj.weight.T + a.out_proj.bias


def literal_feedforward(x: Tensor, layer: torch.nn.Module) -> Tensor:
    return layer.linear2(F.relu(layer.linear1(x)))


@torch.no_grad()
def test_temp_geo_is_two_pre_norm_layers_over_scaled_frames() -> None:
    config = VidTag.debug_config()
    torch.manual_seed(1)
    module = TempGeo(config).eval()
    for norm in (module.norm, *(n for layer in module.layers for n in (layer.norm1, layer.norm2))):
        norm.weight.normal_(1, 0.2)
    frames = F.normalize(torch.randn(5, 56), dim=-1)
    places = sinusoids(torch.arange(5), 56)
    x = math.sqrt(56) * frames + places
    for layer in module.layers:
        normed = layer.norm1(x)
        x = x + literal_attention(normed, normed, layer.self_attn)
        x = x + literal_feedforward(layer.norm2(x), layer)
    found = module(frames[None], places, torch.ones(1, 5, dtype=torch.bool))[0]
    assert len(module.layers) == 2
    assert torch.allclose(found, module.norm(x), atol=1e-5)
    assert not torch.equal(module.layers[0].linear1.weight, module.layers[1].linear1.weight)


@torch.no_grad()
def test_geo_refiner_lets_positions_look_at_themselves_and_at_the_frames() -> None:
    method = debug()
    module = method.geo_refiner
    assert module is not None
    gps, frames = F.normalize(torch.randn(4, 32), dim=-1), torch.randn(4, 56)
    places = sinusoids(torch.arange(4), 56)
    memory = frames + places
    for layer in module.encoder:
        normed = layer.norm1(memory)
        memory = memory + literal_attention(normed, normed, layer.self_attn)
        memory = memory + literal_feedforward(layer.norm2(memory), layer)
    memory = module.encoder_norm(memory)
    x = module.enter(math.sqrt(32) * gps) + places
    for layer in module.decoder:
        normed = layer.norm1(x)
        x = x + literal_attention(normed, normed, layer.self_attn)
        x = x + literal_attention(layer.norm2(x), memory, layer.multihead_attn)
        x = x + literal_feedforward(layer.norm3(x), layer)
    expected = F.normalize(module.leave(module.decoder_norm(x)), dim=-1)
    found = method._refine(gps[None], frames[None], torch.ones(1, 4, dtype=torch.bool))[0]
    assert (len(module.encoder), len(module.decoder)) == (1, 2)
    assert torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_geo_refiner_may_see_embeddings_and_correct_its_input() -> None:
    clips = batch([5])
    assert clips.latlon_deg is not None
    method = debug(refiner_on="embeddings", residual=True)
    assert method.geo_refiner is not None
    keys = method.keys(Places(latlon_deg=clips.latlon_deg[0]))[None]
    seen = math.sqrt(32) * method.queries(clips)  # as loud as what it is added to
    given = method.geo_refiner(keys, seen, method._positions(clips.mask_BT, 32), clips.mask_BT)
    found = method.refined(clips, clips.latlon_deg)
    assert torch.allclose(found, F.normalize(keys + given, dim=-1), atol=1e-5)


def test_positions_are_those_of_vaswani() -> None:
    table = sinusoids(torch.arange(494), 1792).numpy()
    for place, pair in ((0, 0), (1, 0), (493, 3), (17, 895)):
        angle = place / 10000 ** (2 * pair / 1792)
        assert np.allclose(table[place, 2 * pair : 2 * pair + 2], [math.sin(angle), math.cos(angle)], atol=1e-4)
    assert sinusoids(torch.arange(3), 7).shape == (3, 7)


def test_each_encoder_counts_alike_whatever_its_norm() -> None:
    clips = batch([4])
    louder = dataclasses.replace(clips, features=clips.features | {"dinov2": 50 * clips.features["dinov2"]})
    each, joint = debug(), debug(normalise="joint")
    assert torch.allclose(each.queries(clips), each.queries(louder), atol=1e-5)
    assert not torch.allclose(joint.queries(clips), joint.queries(louder), atol=1e-2)
    joined = joint._joined(clips)[0, 0]
    raw = torch.cat([clips.features["clip"][0, 0], clips.features["dinov2"][0, 0]])
    assert torch.allclose(joined, raw / raw.norm(), atol=1e-6)


def test_without_temp_geo_frames_are_alone() -> None:
    whole, single = batch([6]), alone(batch([6]), 0)
    single = Clips(
        features={n: f[:, 2:3] for n, f in single.features.items()}, mask_BT=torch.ones(1, 1, dtype=torch.bool)
    )
    apart, aligned = debug(temp_geo=False, geo_refiner=False), debug(geo_refiner=False)
    assert torch.allclose(apart.queries(whole)[0, 2], apart.queries(single)[0, 0], atol=1e-6)
    assert not torch.allclose(aligned.queries(whole)[0, 2], aligned.queries(single)[0, 0], atol=1e-2)
    assert apart.temp_geo is None and apart.geo_refiner is None and apart.phases == ("align",)


# ---- clips of any length


@pytest.mark.parametrize(
    "changes", [{}, {"positions": "index"}, {"clip_frames": 4}, {"refiner_on": "embeddings"}, {"residual": True}]
)
@torch.no_grad()
def test_padding_changes_nothing(changes: dict[str, object]) -> None:
    method, clips = debug(**changes), batch([7, 3, 5, 1])
    method.begin("refine")
    assert clips.latlon_deg is not None
    queries, refined = method.queries(clips), method.refined(clips, clips.latlon_deg)
    for number in range(len(clips.mask_BT)):
        one = alone(clips, number)
        assert one.latlon_deg is not None
        true = clips.mask_BT[number]
        assert torch.allclose(queries[number, true], method.queries(one)[0], atol=1e-5)
        assert torch.allclose(refined[number, true], method.refined(one, one.latlon_deg)[0], atol=1e-5)


def test_padding_does_not_reach_the_losses() -> None:
    clips = batch([6, 2, 4])
    noisy = dataclasses.replace(
        clips,
        features={n: torch.where(clips.mask_BT[..., None], f, 9.0) for n, f in clips.features.items()},
        latlon_deg=torch.where(clips.mask_BT[..., None], clips.latlon_deg, -7.0),
    )
    for phase in ("align", "refine"):
        for changes in ({}, {"video_level": "mean"}, {"negatives_beyond_km": 0.3}, {"target_radius_km": 0.2}):
            method = debug(**changes)
            a, b = (method.loss(c, phase, torch.Generator().manual_seed(4)) for c in (clips, noisy))
            assert all(a[name].item() == pytest.approx(b[name].item(), rel=1e-4) for name in a), (phase, changes)


def test_a_clip_of_padding_alone_changes_nothing_and_stays_finite() -> None:
    clips = batch([6, 4])
    more = Clips(
        features={n: torch.cat([f, f[:1]]) for n, f in clips.features.items()},
        mask_BT=torch.cat([clips.mask_BT, torch.zeros(1, 6, dtype=torch.bool)]),
        latlon_deg=torch.cat([clips.latlon_deg, clips.latlon_deg[:1]]),
    )
    method = debug(collapse=0.0, jitter_deg=(0.0, 0.0), shift_deg=0.0)  # no noise: draws differ with the batch
    for phase in ("align", "refine"):
        a, b = (method.loss(c, phase, torch.Generator()) for c in (clips, more))
        assert a["total"].item() == pytest.approx(b["total"].item(), rel=1e-4)


@torch.no_grad()
def test_long_clips_are_fitted_into_the_positions_that_training_saw() -> None:
    fitted, counted = debug(clip_frames=6), debug(clip_frames=6, positions="index")
    mask = torch.arange(11) < torch.tensor([[6], [11], [3], [1]])
    found, index = fitted._positions(mask, 56), counted._positions(mask, 56)
    for short, length in ((0, 6), (2, 3), (3, 1)):
        assert torch.allclose(found[short, :length], index[:length], atol=1e-6)
    assert torch.allclose(found[1, ::2], index[:6], atol=1e-5)  # 0, 0.5, 1, ... 5
    assert torch.equal(fitted._positions(mask[:, :6], 56), index[:6])


@torch.no_grad()
def test_order_matters() -> None:
    method, clips = debug(), batch([8])
    assert clips.latlon_deg is not None
    back = Clips(features={n: f.flip(1) for n, f in clips.features.items()}, mask_BT=clips.mask_BT)
    assert (method.queries(clips) - method.queries(back).flip(1)).norm(dim=-1).min() > 0.01
    method.begin("refine")
    there = method.refined(clips, clips.latlon_deg)
    assert (there - method.refined(back, clips.latlon_deg.flip(1)).flip(1)).norm(dim=-1).min() > 0.01


@torch.no_grad()
def test_long_clips_go_through_windows() -> None:
    clips = batch([30, 21])
    whole, windows = debug(window=30, window_overlap=4), debug(window=10, window_overlap=4)
    assert torch.equal(whole.queries(clips), debug().queries(clips))
    found = windows.queries(clips)
    first = Clips(features={n: f[:, :10] for n, f in clips.features.items()}, mask_BT=clips.mask_BT[:, :10])
    assert torch.allclose(found[:, :8], windows.queries(first)[:, :8], atol=1e-6)
    assert found.isfinite().all()


def test_every_frame_comes_from_the_window_it_lies_deepest_in() -> None:
    frames = torch.arange(23.0)[None, :, None]
    for window, overlap in ((10, 4), (7, 0), (5, 4), (23, 3), (30, 1)):
        seen: list[tuple[int, int]] = []

        def embed(part: Tensor, mask: Tensor, seen: list[tuple[int, int]] = seen) -> Tensor:
            seen.append((int(part[0, 0, 0]), int(part[0, -1, 0])))
            assert torch.equal(mask, part[..., 0] < 17)  # of the same frames
            inside = torch.minimum(part - part[:, :1], part[:, -1:] - part)
            return torch.cat([part, inside], -1)

        found = in_windows(embed, frames, frames[..., 0] < 17, window, overlap)
        assert torch.equal(found[..., :1], frames)
        assert all(a[1] - b[0] + 1 >= overlap for a, b in itertools.pairwise(seen))
        assert all(last - first < window for first, last in seen)
        for frame in range(23):
            depths = [min(frame - a, b - frame) for a, b in seen if a <= frame <= b]
            edge = frame < seen[0][1] - overlap or frame > seen[-1][0] + overlap
            assert edge or found[0, frame, 1] >= max(depths) - 1


# ---- phase I


def test_the_contrastive_loss_is_eq_1() -> None:
    method, clips = debug(), batch([6, 4])
    assert clips.latlon_deg is not None
    queries = method.queries(clips)[clips.mask_BT]
    keys = method.keys(Places(latlon_deg=clips.latlon_deg[clips.mask_BT]))
    expected = F.cross_entropy(method.scale * queries @ keys.T, torch.eye(10))
    assert method.loss(clips, "align", torch.Generator())["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    both = (expected + F.cross_entropy(method.scale * keys @ queries.T, torch.eye(10))) / 2
    found = debug(symmetric=True).loss(clips, "align", torch.Generator())["total"]
    assert found.item() == pytest.approx(both.item(), rel=1e-5)


def test_frames_at_equal_coordinates_are_positives_of_each_other() -> None:
    clips = batch([3, 3])
    assert clips.latlon_deg is not None
    clips.latlon_deg[:] = torch.tensor([48.85, 2.35])
    clips.latlon_deg[1, 1] = torch.tensor([48.85, 13.4])  # as far north alone
    clips.latlon_deg[1, 2] = torch.tensor([52.5, 13.4])
    method = debug()
    logits = (
        method.scale
        * method.queries(clips).flatten(0, 1)
        @ method.keys(Places(latlon_deg=clips.latlon_deg.flatten(0, 1))).T
    )
    log_share = torch.log_softmax(logits, 1)
    literal = 0.0
    for i in range(6):
        same = [
            j for j in range(6) if torch.equal(clips.latlon_deg.flatten(0, 1)[i], clips.latlon_deg.flatten(0, 1)[j])
        ]
        literal -= sum(log_share[i, j].item() for j in same) / len(same) / 6
    assert method.loss(clips, "align", torch.Generator())["total"].item() == pytest.approx(literal, rel=1e-5)


@pytest.mark.parametrize("radius_km", [0.01, 0.3, 400.0])
def test_soft_targets_follow_the_true_distance(radius_km: float) -> None:
    method, clips = debug(target_radius_km=radius_km), batch([5, 5], spread=2 * radius_km / 111)
    assert clips.latlon_deg is not None
    latlon = clips.latlon_deg.flatten(0, 1)
    km = distance_km(latlon.numpy()[:, None], latlon.numpy()[None])
    logits = method.scale * method.queries(clips).flatten(0, 1) @ method.keys(Places(latlon_deg=latlon)).T
    log_share = torch.log_softmax(logits, 1).detach().numpy()
    literal = 0.0
    for i in range(10):
        weight = [math.exp(-0.5 * (km[i, j] / radius_km) ** 2) for j in range(10)]
        literal -= sum(w / sum(weight) * log_share[i, j] for j, w in enumerate(weight)) / 10
    assert method.loss(clips, "align", torch.Generator())["total"].item() == pytest.approx(literal, rel=1e-4)


# ---- phase II


def literal_corruption(latlon: np.ndarray, noise: Noise) -> np.ndarray:
    """Appendix A, one clip and one frame after the other."""
    out = np.empty_like(latlon)
    for b, clip in enumerate(latlon):
        for t in range(len(clip)):
            lat, lon = clip[int(noise.onto_B[b])] if noise.collapses_B[b] else clip[t]
            if not noise.collapses_B[b]:
                lat, lon = lat + float(noise.jitter_deg[b, t, 0]), lon + float(noise.jitter_deg[b, t, 1])
            lat, lon = lat + float(noise.shift_deg[b, 0]), lon + float(noise.shift_deg[b, 1])
            out[b, t] = max(-90, min(90, lat)), lon - 360 if lon >= 180 else lon + 360 if lon < -180 else lon
    return out


def test_noise_does_to_a_track_what_appendix_a_says() -> None:
    latlon = torch.rand(40, 9, 2, dtype=torch.float64) * 0.1 + torch.tensor([[[89.9, 179.95]]])
    noise = draw_noise(torch.ones(40, 9, dtype=torch.bool), 0.3, (0.001, 0.02), 0.2, torch.Generator().manual_seed(5))
    assert 0 < int(noise.collapses_B.sum()) < 40
    assert np.allclose(corrupt(latlon, noise).numpy(), literal_corruption(latlon.numpy(), noise), atol=1e-9)


def test_noise_is_drawn_as_appendix_a_says() -> None:
    mask = torch.arange(8) < torch.full((30000, 1), 6)
    noise = draw_noise(mask, 0.1, (0.001, 0.02), 0.2, torch.Generator().manual_seed(0))
    assert noise.collapses_B.float().mean().item() == pytest.approx(0.1, abs=0.006)
    shares = torch.bincount(noise.onto_B, minlength=8) / 30000
    assert shares[6:].tolist() == [0, 0]  # padding is no frame to collapse onto
    assert torch.allclose(shares[:6], torch.full((6,), 1 / 6), atol=0.012)
    size = noise.jitter_deg.abs()
    assert size.min() >= 0.001 and size.max() <= 0.02
    assert size.mean().item() == pytest.approx(0.0105, rel=0.01)  # uniform between both
    assert (noise.jitter_deg > 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert np.corrcoef(noise.jitter_deg.reshape(-1, 2).T)[0, 1] == pytest.approx(0, abs=0.01)  # individually
    assert noise.shift_deg.abs().max() <= 0.2
    assert noise.shift_deg.mean().item() == pytest.approx(0, abs=0.003)
    assert noise.shift_deg.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.02)
    assert np.corrcoef(noise.shift_deg.T)[0, 1] == pytest.approx(0, abs=0.02)  # north and east apart
    quiet = draw_noise(mask[:50], 0.0, (0.0, 0.0), 0.0, torch.Generator())
    latlon = torch.rand(50, 8, 2, dtype=torch.float64)
    assert torch.allclose(corrupt(latlon, quiet), latlon, atol=1e-12)


def test_outliers_jump_to_places_of_the_batch() -> None:
    true = torch.rand(500, 8, 2, dtype=torch.float64)
    moved = stray(true + 1, true, 0.3, torch.Generator().manual_seed(0))
    stayed = (moved == true + 1).all(-1)
    assert stayed.double().mean().item() == pytest.approx(0.7, abs=0.02)
    places = {tuple(place) for place in true.reshape(-1, 2).tolist()}
    jumped = [tuple(place) for place in moved[~stayed].tolist()]
    assert set(jumped) <= places and len(set(jumped)) > 0.8 * len(jumped)  # anywhere, not to one
    assert torch.equal(stray(true + 1, true, 0.0, torch.Generator()), true + 1)


def literal_loss(refined: Tensor, true: Tensor, alpha: float, beta: float) -> float:
    """Eqs. 2 to 4, entry by entry."""
    n = len(refined)
    upper, lower, diagonal = [], [], []
    for i in range(n):
        for j in range(n):
            entry = (float(refined[i] @ true[j]) - (i == j)) ** 2
            (upper if j > i else lower if j < i else diagonal).append(entry)
    return alpha * (np.mean(upper) + np.mean(lower)) + beta * np.mean(diagonal)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (10.0, 1.0), (100.0, 0.5)])
def test_the_alignment_loss_is_eqs_2_to_5(alpha: float, beta: float) -> None:
    method, clips = debug(alpha=alpha, beta=beta, collapse=0.0, jitter_deg=(0.0, 0.0), shift_deg=0.0), batch([4, 4, 4])
    assert clips.latlon_deg is not None
    method.begin("refine")
    with torch.no_grad():
        refined = method.refined(clips, clips.latlon_deg)  # without noise the track itself goes in
        true = method.keys(Places(latlon_deg=clips.latlon_deg.flatten(0, 1))).view(3, 4, -1)
    frame = literal_loss(refined.flatten(0, 1), true.flatten(0, 1), alpha, beta)
    whole = [torch.stack([torch.cat(list(clip)) / 2 for clip in x]) for x in (refined, true)]  # 4 unit vectors: norm 2
    video = literal_loss(whole[0], whole[1], alpha, beta)
    found = method.loss(clips, "refine", torch.Generator())
    assert found["frame"].item() == pytest.approx(frame, rel=1e-4)
    assert found["video"].item() == pytest.approx(video, rel=1e-4)
    assert found["total"].item() == pytest.approx(frame + video, rel=1e-4)


@pytest.mark.parametrize("outliers", [0.0, 0.4])
def test_corrupted_tracks_go_in_and_true_ones_are_wanted(outliers: float) -> None:
    method, clips = debug(collapse=0.4, outliers=outliers), batch([5, 5, 5])
    assert clips.latlon_deg is not None
    generator = torch.Generator().manual_seed(6)
    noisy = corrupt(clips.latlon_deg, draw_noise(clips.mask_BT, 0.4, (0.001, 0.02), 0.2, generator))
    noisy = stray(noisy, clips.latlon_deg, outliers, generator)
    with torch.no_grad():
        refined = method.refined(clips, noisy).flatten(0, 1)
        true = method.keys(Places(latlon_deg=clips.latlon_deg.flatten(0, 1)))
    found = method.loss(clips, "refine", torch.Generator().manual_seed(6))
    assert found["frame"].item() == pytest.approx(literal_loss(refined, true, 10.0, 1.0), rel=1e-4)


def test_clips_of_any_length_count_in_the_alignment_loss() -> None:
    method, clips = debug(collapse=0.0, jitter_deg=(0.0, 0.0), shift_deg=0.0), batch([5, 2, 3])
    assert clips.latlon_deg is not None
    with torch.no_grad():
        tracks = [
            method.refined(clips, clips.latlon_deg),
            method.keys(Places(latlon_deg=clips.latlon_deg.flatten(0, 1))),
        ]
    refined, true = (track.view(3, 5, -1) * clips.mask_BT[..., None] for track in tracks)
    found = method.loss(clips, "refine", torch.Generator())
    rows = [track[clips.mask_BT] for track in (refined, true)]
    assert found["frame"].item() == pytest.approx(literal_loss(rows[0], rows[1], 10.0, 1.0), rel=1e-4)
    whole = [F.normalize(track.flatten(1), dim=-1) for track in (refined, true)]
    assert found["video"].item() == pytest.approx(literal_loss(whole[0], whole[1], 10.0, 1.0), rel=1e-4)


def test_which_frames_are_near_is_told_in_kilometres() -> None:
    clips = batch([4])
    assert clips.latlon_deg is not None
    clips.latlon_deg[0] = torch.tensor([50.0, 8.0]) + torch.tensor([[0.0, 0], [0.4, 0], [1.0, 0], [1.7, 0]]) / 111.195
    quiet = {"collapse": 0.0, "jitter_deg": (0.0, 0.0), "shift_deg": 0.0}
    method = debug(negatives_beyond_km=0.65, **quiet)
    with torch.no_grad():
        refined = method.refined(clips, clips.latlon_deg)[0]
        true = method.keys(Places(latlon_deg=clips.latlon_deg[0]))
    near = torch.zeros(4, 4, dtype=torch.bool)
    near[0, 1] = near[1, 0] = near[1, 2] = near[2, 1] = True  # 0.4 and 0.6 km; the others are 0.7 km apart and more
    expected = alignment_loss(refined, true, torch.ones(4, dtype=torch.bool), 10.0, 1.0, near)
    assert method.loss(clips, "refine", torch.Generator())["frame"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_near_frames_may_be_no_negatives() -> None:
    refined, true = F.normalize(torch.randn(5, 8), dim=-1), F.normalize(torch.randn(5, 8), dim=-1)
    near = torch.zeros(5, 5, dtype=torch.bool)
    near[0, 1] = near[1, 0] = True
    entries = [float(refined[i] @ true[j]) ** 2 for i in range(5) for j in range(5) if i != j and not near[i, j]]
    diagonal = np.mean([(float(refined[i] @ true[i]) - 1) ** 2 for i in range(5)])
    found = alignment_loss(refined, true, torch.ones(5, dtype=torch.bool), 10.0, 1.0, near)
    assert found.item() == pytest.approx(20 * np.mean(entries) + diagonal, rel=1e-5)


def test_clips_as_frames_in_order_or_as_their_mean() -> None:
    frames, mask = F.normalize(torch.randn(2, 4, 6), dim=-1), torch.tensor([[True] * 4, [True, True, False, False]])
    ordered, mean = as_clips(frames, mask, "frames"), as_clips(frames, mask, "mean")
    pairs = sum(float(frames[0, t] @ frames[1, t]) for t in range(2))
    assert float(ordered[0] @ ordered[1]) == pytest.approx(pairs / math.sqrt(4 * 2), abs=1e-6)
    expected = F.normalize(frames[1, :2].mean(0), dim=-1)
    assert torch.allclose(mean[1], expected, atol=1e-6)
    swapped = as_clips(frames.flip(1), mask.flip(1), "frames")
    assert not torch.allclose(ordered[0] @ ordered[1], ordered[0] @ swapped[1], atol=1e-3)


def test_phase_two_trains_geo_refiner_alone() -> None:
    method, clips = debug(dropout=0.4), batch([6, 6])
    assert not method.refines
    method.begin("refine")
    method.train()
    assert method.refines and method.moves_keys("align") and not method.moves_keys("refine")
    assert method.temp_geo is not None and method.geo_refiner is not None
    assert not method.temp_geo.training and method.geo_refiner.training  # what is frozen runs without dropout
    for parameter in method.parameters():
        parameter.grad = None
    method.loss(clips, "refine", torch.Generator())["total"].backward()
    moved = {
        name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert moved == {"geo_refiner"}
    assert {id(p) for p in method.trainable("refine")} == {id(p) for p in method.geo_refiner.parameters()}
    method.begin("align")
    method.train()
    assert method.temp_geo.training and not method.refines


# ---- settings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"feature_dims": (24,)}, "width of each"),
        ({"encoders": ()}, "one or more"),
        ({"heads": 5}, "heads must divide the width 56"),
        ({"sigmas": ()}, "sigmas"),
        ({"mlp_widths": (0,)}, "mlp_widths"),
        ({"jitter_deg": (0.02, 0.001)}, "least and most"),
        ({"window": 4, "window_overlap": 4}, "window_overlap"),
        ({"dropout": 1.0}, "dropout"),
        ({"alpha": -1.0}, "alpha"),
        ({"target_radius_km": math.nan}, "target_radius_km"),
        ({"refine_decay_per_epoch": 0.0}, "refine_decay_per_epoch"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        debug(**changes)


def test_the_papers_settings_by_default() -> None:
    c = VidTagConfig()
    assert (c.encoders, c.width, c.mlp_widths, c.layers) == (("clip", "dinov2"), 1792, (1024, 768), 2)
    assert (c.refiner_encoder_layers, c.refiner_decoder_layers, c.refiner_width) == (1, 2, 1792)
    assert (c.collapse, c.jitter_deg, c.shift_deg, c.alpha, c.beta) == (0.1, (0.001, 0.02), 0.2, 10, 1)
    assert (c.batch_clips, c.clip_frames, c.warmup_steps) == (128, 16, 1000)
    method = debug()
    c = dataclasses.replace(
        VidTag.debug_config(), **{n: getattr(VidTagConfig(), n) for n in ("epochs", "refine_epochs")}
    )
    method.config = dataclasses.replace(c, learning_rate=5e-5, refine_learning_rate=1e-4)
    first, second = method.recipe("align"), method.recipe("refine")
    assert (first.epochs, first.learning_rate, first.decay_per_epoch) == (600, 5e-5, 0.99)
    assert (second.epochs, second.learning_rate, second.decay_per_epoch) == (100, 1e-4, 0.95)
    assert debug(frame_choice="contiguous").recipe("align").contiguous and not first.contiguous
    alike = [debug(warmup_steps=9, batch_clips=5, weight_decay=0.5).recipe(phase) for phase in ("align", "refine")]
    assert [(r.warmup_steps, r.batch_clips, r.clip_frames, r.weight_decay) for r in alike] == [(9, 5, 6, 0.5)] * 2


def test_the_factor_on_cosines_is_bounded() -> None:
    assert debug(init_log_scale=9.0).scale == pytest.approx(100)
