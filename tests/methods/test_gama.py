"""GAMa-Net and its screening network against the published networks' tensors; what they see and how they learn."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from formula import drawn, published_state
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vgeo.encoders._windows import Windows
from vgeo.layers.pairs import image_video, margin_triplet, ntxent
from vgeo.methods._cuts import draw_cuts
from vgeo.methods.base import OWN, Clips, Method, Pairing, Places
from vgeo.methods.gama import Gama, GamaConfig, brought_to
from vgeo.methods.screening import Screening, ScreeningConfig
from vgeo.training.optim import learning_rate

GAMA_NAMES = {  # ours -> published
    "ground.": "v_encoder.",
    "aerial.": "i_encoder.",
    "aerial_transformer.": "transformer_encoder_i.",
    "ground_head.": "v_head.",
    "aerial_head.": "i_head.",
}
SCREENING_NAMES = {"small.": "v_encoder.", "region.": "i_encoder.", "small_head.": "v_head.", "region_head.": "i_head."}


def load_published(method: Method, names: dict[str, str], listed: Path) -> set[str]:
    """Load the published state under our names; what of it is left over."""
    published = published_state(listed)
    state = {}
    for name in method.state_dict():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        theirs = names[ours] + name.removeprefix(ours)
        if theirs not in published:
            theirs = theirs.replace(".downsample.", ".shortcut.")
        state[name] = published.pop(theirs)
    method.load_state_dict(state)
    method.eval()
    return set(published)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_published_network_comes_out(shared_dir: Path) -> None:
    golden = load_file(shared_dir / "golden" / "gama_net.safetensors")
    method = Gama(GamaConfig(init="scratch"))
    left = load_published(method, GAMA_NAMES, shared_dir / "golden" / "gama_net_names.txt")
    assert {name.partition(".")[0] for name in left} == {"encoder_layer_i", "encoder_norm_i"}, "the unused prototypes"
    map_BDthw = method.ground(drawn("clip", 2, 3, 8, 112, 224))
    assert map_BDthw.shape == (2, 512, 1, 7, 14)
    close(map_BDthw.mean((2, 3, 4)), golden["clip_feature"])
    close(method._embed(map_BDthw, method.ground_transformer, method.ground_head), golden["clip_embedding"])
    map_BDhw = method.aerial(drawn("aerial", 2, 3, 224, 224))
    assert map_BDhw.shape == (2, 512, 28, 28)
    map_BDhw = F.adaptive_avg_pool2d(map_BDhw, 7)
    close(map_BDhw.flatten(2).transpose(1, 2), golden["aerial_tokens"])
    close(method._embed(map_BDhw, method.aerial_transformer, method.aerial_head), golden["aerial_embedding"])


@pytest.mark.parametrize("video", [0, pytest.param(1, marks=pytest.mark.slow)])
@torch.no_grad()
def test_the_published_screening_network_comes_out(shared_dir: Path, video: int) -> None:
    golden = load_file(shared_dir / "golden" / "gama_screening.safetensors")
    method = Screening(ScreeningConfig(init="scratch", sequence=4))
    left = load_published(method, SCREENING_NAMES, shared_dir / "golden" / "gama_screening_names.txt")
    assert not left
    small = method.small(drawn("small", 2, 4, 3, 224, 224)[video]).mean((0, 2, 3))
    close(F.normalize(method.small_head(small), dim=-1), golden["small_embedding"][video])
    large = method.region(drawn("large", 2, 3, 224, 224)[video, None]).mean((0, 2, 3))
    close(F.normalize(method.region_head(large), dim=-1), golden["large_embedding"][video])


def test_the_published_losses_come_out(shared_dir: Path) -> None:
    golden = load_file(shared_dir / "golden" / "gama_net.safetensors")
    a, b = golden["loss_features"].unbind(1)
    for temperature in (0.07, 0.1, 0.5):
        found = ntxent(a, b, torch.ones(8, dtype=torch.bool), temperature)
        assert found.item() == pytest.approx(golden[f"loss_tau_{temperature}"].item(), abs=1e-4)


# --- what goes into the networks ---


def tiny(**changes: object) -> Gama:
    torch.manual_seed(0)
    return Gama(replace(Gama.debug_config(), **changes))  # type: ignore[arg-type]


def batch(clips: int = 4, seed: int = 0) -> Clips:
    generator = torch.Generator().manual_seed(seed)

    def pixels(*shape: int) -> Tensor:
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    return Clips(
        mask_BT=torch.ones(clips, 8, dtype=torch.bool),
        frames_BTHWC=pixels(clips, 8, 36, 64, 3),
        tiles_BSSC=pixels(clips, 40, 40, 3),
    )


def seen_by(method: Method, part: str, run: object) -> Tensor:
    """The pixels that reach an encoder."""
    seen: list[Tensor] = []
    hook = getattr(method, part).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run()  # type: ignore[operator]
    hook.remove()
    return seen[0]


def normal(bytes_XHWC: Tensor) -> Tensor:
    """(x - 0.5) / 0.5 of channels first, in float64."""
    return ((bytes_XHWC.double() / 255 - 0.5) / 0.5).movedim(-1, -3)


def test_evaluation_sees_the_middles() -> None:
    method, clips = tiny().eval(), batch()
    assert clips.frames_BTHWC is not None and clips.tiles_BSSC is not None
    pixels = seen_by(method, "ground", lambda: method.queries(clips))
    torch.testing.assert_close(
        pixels.double(), normal(clips.frames_BTHWC[:, :, 2:34, 4:60]).transpose(1, 2), atol=1e-6, rtol=0
    )
    places = Places(latlon_deg=torch.zeros(4, 2), tiles_GSSC=clips.tiles_BSSC)
    pixels = seen_by(method, "aerial", lambda: method.keys(places))
    torch.testing.assert_close(pixels.double(), normal(clips.tiles_BSSC[:, 2:38, 2:38]), atol=1e-6, rtol=0)
    image = tiny(ground="image").eval()
    pixels = seen_by(image, "ground", lambda: image.queries(clips))
    torch.testing.assert_close(
        pixels.double(), normal(clips.frames_BTHWC[:, 4, 2:34, 4:60]), atol=1e-6, rtol=0, msg="the centre frame of 8"
    )


def test_the_published_pieces_are_in_the_middle_of_the_published_sizes() -> None:
    config = GamaConfig()
    assert (config.frame_px, config.crop_px, config.tile_px, config.tile_crop_px) == ((144, 256), (112, 224), 256, 224)


def candidates(picture_HWC: np.ndarray, size: tuple[int, int], turn: bool) -> dict[bytes, tuple[int, ...]]:
    """Every piece that training may see of a picture, with what was done: (top, left, quarters, mirrored, upset)."""
    found = {}
    turns = range(4) if turn else range(1)
    height, width = picture_HWC.shape[:2]
    tops, lefts = range(height - size[0] + 1), range(width - size[1] + 1)
    for top, left in itertools.product(tops, lefts):
        piece = picture_HWC[top : top + size[0], left : left + size[1]]
        for quarters, mirrored, upset in itertools.product(turns, (0, 1), (0, 1) if turn else (0,)):
            shown = np.rot90(piece, quarters)
            shown = shown[:, ::-1] if mirrored else shown
            shown = shown[::-1] if upset else shown
            found[shown.tobytes()] = (top, left, quarters, mirrored, upset)
    return found


def as_bytes(pixels_XCHW: Tensor) -> np.ndarray:
    return ((pixels_XCHW.double() * 0.5 + 0.5) * 255).round().to(torch.uint8).movedim(-3, -1).numpy()


def test_training_turns_tiles_and_shares_a_clips_crop() -> None:
    method, clips = tiny(), batch(24)
    assert clips.frames_BTHWC is not None and clips.tiles_BSSC is not None

    def run() -> None:
        method.loss(clips, "contrastive", torch.Generator().manual_seed(5))

    ground = as_bytes(seen_by(method, "ground", run).transpose(1, 2))
    done = []
    for pieces, frames in zip(ground, clips.frames_BTHWC.numpy(), strict=True):
        of_frames = [
            candidates(frame, (32, 56), turn=False)[piece.tobytes()]
            for piece, frame in zip(pieces, frames, strict=True)
        ]
        assert len(set(of_frames)) == 1, "all 8 frames alike"
        done.append(of_frames[0])
    assert len({at[:2] for at in done}) > 12 and {at[3] for at in done} == {0, 1}
    aerial = as_bytes(seen_by(method, "aerial", run))
    turned = [
        candidates(tile, (36, 36), turn=True)[piece.tobytes()]
        for piece, tile in zip(aerial, clips.tiles_BSSC.numpy(), strict=True)
    ]
    assert len({at[:2] for at in turned}) > 8
    # Half of the 16 ways look like another one of them: 8 can be told apart.
    assert len({at[2:] for at in turned}) == 8
    flips = {(mine[3], theirs[3] ^ theirs[4]) for mine, theirs in zip(done, turned, strict=True)}
    assert len(flips) == 4, "a clip's flip says nothing of its tile's"


def test_pieces_lie_anywhere_evenly() -> None:
    """As a random crop draws them: the first and the last place as often as any between."""
    cut = draw_cuts(8000, (3, 5), torch.Generator().manual_seed(0), torch.device("cpu"), "full", turn=True)
    for drawn_N, places in ((cut.top_N, 4), (cut.left_N, 6), (cut.turns_N, 4)):
        shares = torch.bincount(drawn_N) / 8000
        assert len(shares) == places and (shares - 1 / places).abs().max() < 0.02
    for drawn_N in (cut.mirrored_N, cut.upset_N):
        assert drawn_N.float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_dropout_follows_every_residual_block_of_the_ground_encoder_while_it_learns() -> None:
    method, clips = tiny(ground_dropout=0.4), batch()
    seen: list[float] = []
    hook = method.ground.dropout.register_forward_hook(lambda _, inputs, out: seen.append((out == 0).float().mean()))
    method.loss(clips, "contrastive", torch.Generator())
    hook.remove()
    assert len(seen) == 8 and all(share > 0.35 for share in seen)
    method.eval()
    with torch.no_grad():
        torch.testing.assert_close(method.queries(clips), method.queries(clips), atol=0, rtol=0)


@pytest.mark.parametrize("augment", ["crop", "none"])
def test_plain_variants(augment: str) -> None:
    method, clips = tiny(augment=augment), batch(12)
    assert clips.frames_BTHWC is not None and clips.tiles_BSSC is not None
    run = lambda: method.loss(clips, "contrastive", torch.Generator().manual_seed(5))  # noqa: E731
    ground = as_bytes(seen_by(method, "ground", run).transpose(1, 2))
    aerial = as_bytes(seen_by(method, "aerial", run))
    done = [
        candidates(f[0], (32, 56), True)[p[0].tobytes()]
        for p, f in zip(ground, clips.frames_BTHWC.numpy(), strict=True)
    ]
    done += [candidates(f, (36, 36), True)[p.tobytes()] for p, f in zip(aerial, clips.tiles_BSSC.numpy(), strict=True)]
    assert {at[2:] for at in done} <= {(0, 0, 0), (2, 1, 1)}, "never turned or mirrored; the second is the first"
    tops = {at[:2] for at in done}
    assert tops == {(2, 4), (2, 2)} if augment == "none" else len(tops) > 8


def test_screening_cuts_each_small_tile_on_its_own() -> None:
    torch.manual_seed(0)
    method = Screening(Screening.debug_config())
    tile = torch.randint(256, (40, 40, 3), dtype=torch.uint8)
    clips = Clips(
        mask_BT=torch.ones(4, 3, dtype=torch.bool),
        frames_BTHWC=tile.expand(4, 3, -1, -1, -1),
        tiles_BSSC=tile.expand(4, -1, -1, -1),
    )
    run = lambda: method.loss(clips, "true", torch.Generator().manual_seed(5))  # noqa: E731
    known = candidates(tile.numpy(), (36, 36), turn=True)
    small = [known[piece.tobytes()] for piece in as_bytes(seen_by(method, "small", run))]
    assert len(small) == 12 and len(set(small)) > 9
    assert len({known[piece.tobytes()] for piece in as_bytes(seen_by(method, "region", run))}) == 4


def test_screening_takes_the_mean_of_the_tiles_that_are_there() -> None:
    torch.manual_seed(0)
    method = Screening(Screening.debug_config()).eval()
    tiles = torch.randint(256, (2, 3, 40, 40, 3), dtype=torch.uint8)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    with torch.no_grad():
        found = method.queries(Clips(mask_BT=mask, frames_BTHWC=tiles))
        features = method.small(normal(tiles[1, :2, 2:38, 2:38]).float()).mean((2, 3)).mean(0)
        expected = F.normalize(method.small_head(features), dim=-1)
    torch.testing.assert_close(found[1, 0], expected, atol=1e-5, rtol=1e-4)


def test_tiles_of_other_sizes_are_brought_to_ours() -> None:
    tiles = torch.randint(256, (3, 40, 40, 3), dtype=torch.uint8)
    assert brought_to(tiles, 40) is tiles
    assert brought_to(torch.full((3, 80, 80, 3), 77, dtype=torch.uint8), 40).unique().tolist() == [77]
    assert brought_to(tiles, 20).shape == (3, 20, 20, 3)


def test_what_was_embedded_before_is_taken_as_it_is() -> None:
    rows = torch.randn(2, 5, 16)
    found = tiny().queries(Clips(mask_BT=torch.ones(2, 5, dtype=torch.bool), features={OWN: rows.half()}))
    torch.testing.assert_close(found, F.normalize(rows.half().float(), dim=-1))


# --- settings, schedules, losses ---

PLAIN = {"transformer": "none", "augment": "crop", "early_s": 0.0, "hard_negative": False}
ROWS = {  # tables 3 and 6 -> settings, and what they make of the model
    "GAMa-Net": ({}, {"aerial_transformer"}, "R3d18", Pairing(early_s=0.5, another=True)),
    "Video-Tx": ({"transformer": "video"}, {"ground_transformer"}, "R3d18", Pairing(early_s=0.5, another=True)),
    "Dual-Tx": (
        {"transformer": "both"}, {"aerial_transformer", "ground_transformer"}, "R3d18",
        Pairing(early_s=0.5, another=True),
    ),
    "Combined": ({"transformer": "none"}, set(), "R3d18", Pairing(early_s=0.5, another=True)),
    "CBn": (PLAIN, set(), "R3d18", Pairing()),
    "Triplet-Bn": ({**PLAIN, "loss": "triplet"}, set(), "R3d18", Pairing()),
    "Image-CBn": ({**PLAIN, "ground": "image"}, set(), "ResNet18", Pairing()),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_tables_are_settings(row: str) -> None:
    changes, transformers, ground, pairing = ROWS[row]
    method = tiny(**changes)
    assert {name for name, _ in method.named_children() if "transformer" in name} == transformers
    assert type(method.ground).__name__ == ground
    assert method.recipe("contrastive").pairing == pairing
    loss = method.loss(batch(), "contrastive", torch.Generator())["total"]
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_schedules_are_the_published_ones() -> None:
    recipe = Gama(replace(GamaConfig(), width=8)).recipe("contrastive")
    # The published loop counts epochs from 1 and multiplies by 0.1 for each of 100, 150, 250 that is passed.
    for epoch in range(1, recipe.epochs + 1):
        passed = sum(epoch > bound for bound in (100, 150, 250))
        assert learning_rate(recipe, epoch - 1, 0) == pytest.approx(8e-5 * 0.1**passed)
    assert (recipe.epochs, recipe.batch_clips, recipe.weight_decay, recipe.warmup_steps) == (500, 64, 1e-4, 0)
    assert recipe.windows == Windows(length=8, rule="seconds", rate_hz=15)
    first, second = (Screening(ScreeningConfig(width=8)).recipe(phase) for phase in ("true", "predicted"))
    assert (first.epochs, first.milestones, first.sequence, first.clip_frames) == (500, (100, 150, 200), "true", 32)
    assert (second.epochs, second.milestones, second.sequence) == (150, (40, 80, 120), "predicted")
    assert first.pairing is None and first.batch_clips == second.batch_clips == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_px": (40, 40)}, "crop_px must fit"),
        ({"frame_px": (36,)}, "height and width"),
        ({"tile_crop_px": 41}, "tile_crop_px must fit"),
        ({"heads": 3}, "heads must divide"),
        ({"temperature": 0.0}, "must be positive"),
        ({"dropout": 1.0}, "below 1"),
        ({"batch_clips": 0}, "batch_clips must be at least 1"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Gama.debug_config(), **changes)  # type: ignore[arg-type]


def test_the_loss_that_is_set_is_taken() -> None:
    clips, real = batch(6), torch.ones(6, dtype=torch.bool)
    for loss, function in (("ntxent", ntxent), ("paper", image_video)):
        method = tiny(loss=loss, augment="none", temperature=0.3).eval()
        places = Places(latlon_deg=torch.zeros(6, 2), tiles_GSSC=clips.tiles_BSSC)
        with torch.no_grad():
            expected = function(method.queries(clips)[:, 0], method.keys(places), real, 0.3)
            found = method.loss(clips, "contrastive", torch.Generator())["total"]
        torch.testing.assert_close(found, expected)
        assert method.scale == pytest.approx(1 / 0.3)
    method = tiny(loss="triplet", augment="none", margin=0.2).eval()
    with torch.no_grad():
        places = Places(latlon_deg=torch.zeros(6, 2), tiles_GSSC=clips.tiles_BSSC)
        expected = margin_triplet(method.queries(clips)[:, 0], method.keys(places), real, 0.2)
        torch.testing.assert_close(method.loss(clips, "contrastive", torch.Generator())["total"], expected)


def test_positions_tell_the_tokens_apart() -> None:
    """Without them the transformer does not know where in the tile a token is."""
    tokens = torch.randn(2, 32, 2, 2)
    for positions, same in ((False, True), (True, False)):
        method = tiny(positions=positions).eval()
        with torch.no_grad():
            a, b = (method._embed(x, method.aerial_transformer, method.aerial_head) for x in (tokens, tokens.flip(-1)))
        assert torch.allclose(a, b, atol=1e-5) is same
