"""Backbones that are trained, against transformers' own models and against arithmetic done by hand."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vgeo.layers import ranks
from vgeo.layers.costs import numbers
from vgeo.methods._backbones import (
    ENCODER,
    Backbone,
    BackboneShape,
    Family,
    augment,
    check_shape,
    preprocess,
    shape_of_config,
)

SMALL = BackboneShape(image_px=32, width=32, layers=2, heads=2, mlp=64)
SHAPES: dict[Family, BackboneShape] = {
    "videomae": SMALL,
    "timesformer": dataclasses.replace(SMALL, frames=8),
    "mae": dataclasses.replace(SMALL, frames=1),
}
FAMILIES = list(SHAPES)


def lively(backbone: Backbone) -> Backbone:
    """Biases and tables away from zero, as training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in backbone.named_parameters():
        if name.endswith(("bias", "time_embeddings", "position_embeddings", "cls_token")):
            parameter.data.normal_(std=0.5, generator=generator)
    return backbone


def made(family: Family, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return lively(Backbone(family, SHAPES[family], **options)).eval()


def clips(family: Family, count: int = 3) -> Tensor:
    size = (count, SHAPES[family].frames, 32, 32, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


def test_default_is_videomae_s_with_all_of_it_trainable() -> None:
    with torch.device("meta"):
        backbone = Backbone("videomae", BackboneShape())
        features = backbone(torch.zeros(2, 16, 3, 224, 224))
    patches = 3 * 2 * 16 * 16 * 384 + 384
    attention = 4 * 384 * 384 + 3 * 384  # queries, keys, values, output; keys have no bias
    layer = attention + (384 * 1536 + 1536) + (1536 * 384 + 384) + 2 * 2 * 384
    assert numbers(backbone.parameters()) == patches + 12 * layer == 21_879_168
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert features.shape == (2, 384)
    assert not any("layernorm." in name or "fc_norm" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize(
    ("family", "repository", "shape", "parameters"),
    [
        ("videomae", "", BackboneShape(), 21.88e6),
        ("videomae", "MCG-NJU/videomae-base-finetuned-kinetics", BackboneShape(width=768, heads=12, mlp=3072), 86.2e6),
        ("timesformer", "", BackboneShape(frames=8, width=768, heads=12, mlp=3072), 121.3e6),
        ("mae", "", BackboneShape(frames=1, width=768, heads=12, mlp=3072), 85.8e6),
        ("mae", "facebook/vit-mae-large", BackboneShape(frames=1, width=1024, layers=24, heads=16, mlp=4096), 303.3e6),
    ],
)
def test_shapes_of_released_weights(family: Family, repository: str, shape: BackboneShape, parameters: float) -> None:
    import transformers

    names = {"videomae": "VideoMAEConfig", "timesformer": "TimesformerConfig", "mae": "ViTMAEConfig"}
    released = ENCODER[family].SHAPES[repository or ENCODER[family].REPOSITORY]
    assert shape_of_config(getattr(transformers, names[family])(**released)) == shape
    with torch.device("meta"):
        backbone = Backbone(family, shape)
        features = backbone(torch.zeros(1, shape.frames, 3, 224, 224))
    assert features.shape == (1, shape.width)
    assert numbers(backbone.parameters()) == pytest.approx(parameters, rel=3e-3)


def by_hand_videomae(model: Any, pixels_BTCHW: Tensor) -> Tensor:
    """Layer after layer, then the mean of the tokens, without a norm."""
    tokens = model.embeddings(pixels_BTCHW, None)
    for layer in model.encoder.layer:
        tokens = layer(tokens)
    mean: Tensor = tokens.mean(1)
    return mean


def by_hand_timesformer(model: Any, pixels_BTCHW: Tensor) -> Tensor:
    token: Tensor = model(pixel_values=pixels_BTCHW).last_hidden_state[:, 0]
    return token


def by_hand_mae(model: Any, pixels_BTCHW: Tensor) -> Tensor:
    """All patches, in their order: nothing masked, nothing shuffled."""
    positions = model.embeddings.position_embeddings
    patches = model.embeddings.patch_embeddings(pixels_BTCHW[:, 0]) + positions[:, 1:]
    start = (model.embeddings.cls_token + positions[:, :1]).expand(len(patches), -1, -1)
    tokens = torch.cat([start, patches], dim=1)
    for layer in model.layers:
        tokens = layer(tokens)
    token: Tensor = model.layernorm(tokens)[:, 0]
    return token


@pytest.mark.parametrize(
    ("family", "by_hand"), [("videomae", by_hand_videomae), ("timesformer", by_hand_timesformer), ("mae", by_hand_mae)]
)
def test_agrees_with_transformers(family: Family, by_hand: Callable[[Any, Tensor], Tensor]) -> None:
    """The tensors are put into a model that transformers makes itself."""
    import transformers as hf

    backbone, shape = made(family), SHAPES[family]
    size = {"image_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"intermediate_size": 64}
    theirs: Any
    if family == "videomae":
        theirs = hf.VideoMAEModel(hf.VideoMAEConfig(**size))  # type: ignore[arg-type]
    elif family == "timesformer":
        theirs = hf.TimesformerModel(hf.TimesformerConfig(**size, num_frames=8))  # type: ignore[arg-type]
    else:
        theirs = hf.ViTMAEModel(hf.ViTMAEConfig(**size))  # type: ignore[arg-type]
    missing = theirs.load_state_dict(backbone.model.state_dict(), strict=False).missing_keys
    assert all(name.endswith("attention.key.bias") for name in missing), "of releases of transformers before 5.23"
    pixels = preprocess(clips(family), "imagenet")
    assert pixels.shape == (3, shape.frames, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels), by_hand(theirs.eval(), pixels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", ["class", "patches"])
def test_mae_masks_nothing_even_in_training(pool: Any) -> None:
    backbone = made("mae", pool=pool).train()
    pixels = preprocess(clips("mae", 1)).requires_grad_()
    backbone(pixels).square().sum().backward()
    assert pixels.grad is not None
    moved = pixels.grad[0, 0].abs().sum(0).unflatten(0, (2, 16)).unflatten(2, (2, 16)).sum((1, 3))
    assert (moved > 0).all(), "each patch matters"
    assert torch.equal(backbone(pixels), backbone(pixels))


def test_mae_pools_what_it_is_told() -> None:
    pixels = preprocess(clips("mae"))
    with torch.no_grad():
        assert not torch.allclose(made("mae")(pixels), made("mae", pool="patches")(pixels), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_trains_all_of_it_and_the_same_with_checkpoints_between(family: Family) -> None:
    gradients = []
    for checkpointing in (False, True):
        backbone = made(family, checkpointing=checkpointing).train()
        backbone(preprocess(clips(family))).square().sum().backward()
        fixed = {name for name, p in backbone.named_parameters() if not p.requires_grad}
        assert fixed == ({"model.embeddings.position_embeddings"} if family == "mae" else set())
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().sum() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_compute_layers_again(family: Family) -> None:
    backbone = made(family, checkpointing=True).train()
    layers = backbone.model.layers if family == "mae" else backbone.model.encoder.layer
    calls: list[int] = []
    norm = layers[1].layernorm_before
    norm.register_forward_hook(lambda *_: calls.append(1))
    backbone(preprocess(clips(family))).sum().backward()
    assert len(calls) == 2


def test_videomae_keeps_its_table_of_positions_with_the_weights_device() -> None:
    """transformers leaves it on the CPU, from where every step would copy it, and wait."""
    backbone = made("videomae")
    assert "model.embeddings.position_embeddings" in dict(backbone.named_buffers())
    assert not any("position" in name for name in backbone.state_dict())
    assert backbone.to("meta")(torch.zeros(1, 16, 3, 32, 32, device="meta")).device.type == "meta"


def test_keys_have_no_bias_whatever_the_release_of_transformers() -> None:
    """One that is added to all products of a query cannot change what softmax makes of them."""
    names = set(made("videomae").state_dict())
    assert "model.encoder.layer.1.attention.attention.query.bias" in names
    assert "model.encoder.layer.1.attention.attention.key.weight" in names
    assert not any(name.endswith("key.bias") for name in names)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("videomae", {"frames": 15}, "token of 2 frames, so frames must be a multiple of that, not 15"),
        ("videomae", {"image_px": 225}, "patches of 16 pixels do not fill 225 pixels"),
        ("videomae", {"heads": 7}, "heads must divide the width 384 of the backbone, which 7 does not"),
        ("videomae", {"layers": 0}, "at least 1"),
        ("mae", {"frames": 16}, "single frames, so frames must be 1, not 16"),
        ("resnet", {}, "there are videomae, timesformer, mae"),
    ],
)
def test_shapes_that_cannot_be(family: Any, changes: dict[str, int], message: str) -> None:
    shape = dataclasses.replace(BackboneShape(), **changes)
    for build in (check_shape, Backbone):
        with pytest.raises(ValueError, match=message):
            build(family, shape)


def test_videomae_takes_other_lengths_from_scratch() -> None:
    shape = dataclasses.replace(SMALL, frames=6)
    backbone = Backbone("videomae", shape)
    assert backbone(torch.rand(2, 6, 3, 32, 32)).shape == (2, 32)
    check_shape("timesformer", dataclasses.replace(SMALL, frames=15))


def test_a_token_of_videomae_spans_as_many_frames_as_it_is_set_to() -> None:
    shape = dataclasses.replace(SMALL, frames=8, tubelet=4)
    backbone = Backbone("videomae", shape)
    assert backbone.model.embeddings.position_embeddings.shape == (1, 2 * 2 * 2, 32)
    assert backbone(torch.rand(1, 8, 3, 32, 32)).shape == (1, 32)


def test_pixels_as_the_published_loader_leaves_them() -> None:
    """torchvision's ToTensor on each frame: channels first, divided by 255, nothing more."""
    from torchvision.transforms.functional import to_tensor

    frames = clips("videomae")
    wanted = torch.stack([torch.stack([to_tensor(frame.numpy()) for frame in clip]) for clip in frames])
    assert torch.equal(preprocess(frames), wanted)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (wanted - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(preprocess(frames, "imagenet"), normal)
    torch.testing.assert_close(preprocess(frames, "kinetics"), (wanted - 0.45) / 0.225)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_is_none_and_draws_nothing() -> None:
    pixels, generator = preprocess(clips("videomae")), seeded()
    assert augment(pixels, generator) is pixels
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_clips_are_mirrored_whole() -> None:
    pixels = preprocess(clips("videomae", 200))[:, :, :, :4, :4]
    seen = augment(pixels, seeded(), flip=0.3)
    mirrored = [bool(torch.equal(a, b.flip(-1))) for a, b in zip(seen, pixels, strict=True)]
    assert all(torch.equal(a, b) or flipped for a, b, flipped in zip(seen, pixels, mirrored, strict=True))
    assert 40 < sum(mirrored) < 80
    assert torch.equal(augment(pixels, seeded(), flip=1.0), pixels.flip(-1))


def test_crops_are_squares_within_the_frame_alike_for_all_frames_of_a_clip() -> None:
    """Frames that hold their own coordinates say where each pixel comes from."""
    steps = (torch.arange(64) + 0.5) / 64
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    pixels = torch.stack([x, y, x + y])[None, None].repeat(50, 3, 1, 1, 1)
    seen = augment(pixels, seeded(), crop=0.5)
    assert torch.equal(seen[:, 0], seen[:, 2])
    left, right, top, bottom = (
        seen[:, 0, channel][(slice(None), *at)]
        for channel, at in ((0, (30, 5)), (0, (30, 58)), (1, (5, 30)), (1, (58, 30)))
    )
    wide, high = (right - left) * 64 / 53, (bottom - top) * 64 / 53
    torch.testing.assert_close(wide, high, rtol=0, atol=1e-4)
    assert 0.5 <= wide.min() < 0.55 and 0.95 < wide.max() <= 1
    start_x, start_y = left - wide * 5.5 / 64, top - high * 5.5 / 64
    for start in (start_x, start_y):
        assert start.min() > -1e-4 and (start + wide).max() < 1 + 1e-4
        room = start / (1 - wide)
        assert room.min() < 0.1 and room.max() > 0.9
    assert (start_x - start_y).abs().max() > 0.1
    torch.testing.assert_close(augment(pixels, seeded(), crop=1 - 1e-9), pixels, rtol=0, atol=1e-6)


def test_processes_draw_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = preprocess(clips("videomae", 6))
    whole = augment(pixels, seeded(), flip=0.5, crop=0.6)
    parts = []
    for rank in range(2):
        monkeypatch.setattr("vgeo.methods._backbones.world_size", lambda: 2)
        monkeypatch.setattr(ranks, "world_size", lambda: 2)
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        parts.append(augment(pixels[3 * rank : 3 * rank + 3], seeded(), flip=0.5, crop=0.6))
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole, pixels)
