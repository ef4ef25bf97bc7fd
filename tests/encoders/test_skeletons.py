"""Backbones without weights: shapes as they are published, and what one frame costs, by hand."""

import pytest
import torch

from vgeo import encoders
from vgeo.encoders.base import Skeleton
from vgeo.errors import UsageError
from vgeo.layers.costs import macs_by_part, numbers


def macs(skeleton: Skeleton) -> tuple[int, int]:
    """Multiply-accumulates of one frame, and the width of its features."""
    features = []
    with torch.device("meta"):
        pixels = torch.zeros(1, *skeleton.shape)
        counted = macs_by_part(skeleton.model, lambda: features.append(skeleton.read(skeleton.model, pixels)))
    return counted.total(), features[0].shape[-1]


def vit(layers: int, width: int, patch: int, size: int) -> tuple[int, int, int]:
    """A vision transformer with a class token: linear layers, attention's products, patches."""
    tokens = (size // patch) ** 2 + 1
    return (
        layers * tokens * 12 * width * width,
        layers * 2 * tokens * tokens * width,
        (tokens - 1) * 3 * patch**2 * width,
    )


def load(name: str) -> Skeleton:
    found = encoders.skeleton(name)
    assert found is not None
    return found


def test_clip_large_is_what_everyone_counts() -> None:
    skeleton = load("clip")
    linear, attention, patches = vit(24, 1024, 14, 224)
    assert [round(part / 1e9, 2) for part in (linear, attention, patches)] == [77.61, 3.25, 0.15]
    assert macs(skeleton) == (linear + attention + patches + 1024 * 768, 768)
    block = 4 * (1024 * 1024 + 1024) + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024
    outside = 3 * 14 * 14 * 1024 + 1024 + 257 * 1024 + 4 * 1024 + 1024 * 768
    assert numbers(skeleton.model.parameters()) == 24 * block + outside == 303_966_208
    assert all(parameter.is_meta and not parameter.requires_grad for parameter in skeleton.model.parameters())


def test_dinov2_large_sees_224_pixels_though_its_positions_are_of_518() -> None:
    skeleton = load("dinov2")
    assert macs(skeleton) == (sum(vit(24, 1024, 14, 224)), 1024)
    assert numbers(skeleton.model.parameters()) == 304_368_640


@pytest.mark.parametrize(
    ("name", "width", "giga"),
    [
        ("clip:openai/clip-vit-large-patch14-336", 768, 190.96),
        ("clip:openai/clip-vit-base-patch32", 512, 4.41),
        ("clip:openai/clip-vit-base-patch16", 512, 17.56),
        ("dinov2:facebook/dinov2-small", 384, 6.12),
        ("dinov2:facebook/dinov2-base", 768, 23.16),
        ("dinov2:facebook/dinov2-giant", 1536, 299.39),
        ("siglip", 1024, 81.28),
        ("siglip:google/siglip-base-patch16-224", 768, 17.71),
        ("torchvision:resnet50", 2048, 4.09),
        ("mae", 768, 17.56),
        ("timesformer:facebook/timesformer-hr-finetuned-k400", 768, 1702.69),  # the paper's 1.70 T, a view
        ("gist", 624, 0.0),
    ],
)
def test_other_backbones(name: str, width: int, giga: float) -> None:
    counted, features = macs(load(name))
    assert (features, round(counted / 1e9, 2)) == (width, giga)


def test_open_clip_builds_the_same_network_as_transformers() -> None:
    other, plain = load("clip:ViT-L-14/openai"), load("clip")
    assert macs(other) == macs(plain)
    assert numbers(other.model.parameters()) == numbers(plain.model.parameters())


def test_videomae_small_is_what_its_authors_count() -> None:
    """57 G and 22 M (their table of Kinetics-400), for 16 frames: 8 x 14 x 14 tokens, none of them a class token."""
    skeleton, tokens, width = load("videomae"), 8 * 14 * 14, 384
    linear, attention = 12 * tokens * 12 * width * width, 12 * 2 * tokens * tokens * width
    assert macs(skeleton) == (linear + attention + tokens * 3 * 2 * 16 * 16 * width, width)
    assert skeleton.shape == (16, 3, 224, 224)
    assert numbers(skeleton.model.parameters()) == 21_879_168


def test_timesformer_takes_eight_frames() -> None:
    skeleton = load("timesformer")
    assert skeleton.shape == (8, 3, 224, 224)
    counted, width = macs(skeleton)
    assert (width, round(counted / 1e9)) == (768, 196)  # the paper's 0.20 T, a view


@pytest.mark.parametrize(
    "name",
    [f"{family}:someone/theirs" for family in ("clip", "dinov2", "siglip", "videomae", "timesformer", "mae")],
)
def test_a_shape_that_only_its_weights_tell(name: str) -> None:
    assert encoders.skeleton(name) is None


@pytest.mark.parametrize("name", ["nope", "gist:x", "torchvision:nope", "clip:ViT-L-14/nope"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(UsageError):
        encoders.skeleton(name)
