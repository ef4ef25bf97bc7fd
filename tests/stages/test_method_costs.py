"""Costs of the methods at their published settings, against formulas worked out by hand."""

import itertools

import pytest
from torch import nn

from vgeo import encoders, methods
from vgeo.encoders.base import Skeleton
from vgeo.errors import SettingError, UsageError
from vgeo.stages.costs import MethodCosts, PartCost, count_costs

TABLE_8 = {"1024": 55.7, "1024,768": 56.3, "1024,1024,768": 57.4, "1024,1024,768,768": 58.0}


@pytest.fixture
def no_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip what takes seconds to import; the backbones have tests of their own."""

    def unknown(_name: str) -> Skeleton | None:
        return None

    monkeypatch.setattr(encoders, "skeleton", unknown)


def part(costs: MethodCosts, name: str) -> PartCost:
    return next(one for one in costs.parts if one.name == name)


def linear(*widths: int) -> int:
    """Parameters of linear layers with biases."""
    return sum((a + 1) * b for a, b in itertools.pairwise(widths))


def products(*widths: int) -> int:
    return sum(a * b for a, b in itertools.pairwise(widths))


def layer_macs(frames: int, width: int, feedforward: int, attentions: int = 1) -> int:
    return attentions * (4 * frames * width**2 + 2 * frames**2 * width) + 2 * frames * width * feedforward


@pytest.mark.usefixtures("no_backbones")
def test_parameters_of_vidtag() -> None:
    costs = count_costs("vidtag")
    attention, norm = 4 * (1792 + 1) * 1792, 2 * 1792
    forward = linear(1792, 2048, 1792)
    temp_geo = 2 * (attention + forward + 2 * norm) + norm
    assert part(costs, "temp_geo").trainable == {"align": temp_geo}
    assert part(costs, "mlp").trainable == {"align": 3_016_960}
    assert linear(1792, 1024, 768, 512) == 3_016_960
    location = part(costs, "location")
    assert (location.trainable, location.buffers) == ({"align": 9_447_936}, 1_536)
    assert 3 * linear(512, 1024, 1024, 1024, 512) == 9_447_936
    refiner = linear(512, 1792) + (attention + forward + 2 * norm) + 2 * (2 * attention + forward + 3 * norm)
    refiner += 2 * norm + linear(1792, 512)
    assert part(costs, "geo_refiner").trainable == {"refine": refiner}
    assert costs.trainable == {"align": temp_geo + 3_016_960 + 9_447_936 + 1, "refine": refiner}
    assert sum(one.parameters or 0 for one in costs.parts) == sum(costs.trainable.values())


@pytest.mark.usefixtures("no_backbones")
@pytest.mark.parametrize("frames", [1, 16])
def test_multiply_accumulates_of_vidtag(frames: int) -> None:
    costs = count_costs("vidtag", clip_frames=frames)
    temp_geo = 2 * layer_macs(frames, 1792, 2048)
    refiner = layer_macs(frames, 1792, 2048) + 2 * layer_macs(frames, 1792, 2048, attentions=2)
    refiner += 2 * frames * 512 * 1792
    location = 3 * products(2, 256) + 3 * products(512, 1024, 1024, 1024, 512)
    assert part(costs, "temp_geo").macs_per_frame == temp_geo // frames
    assert part(costs, "temp_geo").macs_per_frame_refining == temp_geo // frames  # GeoRefiner looks at its frames again
    assert part(costs, "mlp").macs_per_frame == products(1792, 1024, 768, 512)
    assert part(costs, "location").macs_per_place == location == 9_438_720
    assert (part(costs, "location").macs_per_frame, part(costs, "location").macs_per_frame_refining) == (0, location)
    assert part(costs, "geo_refiner").macs_per_frame_refining == refiner // frames
    assert (costs.embed_dim, costs.refines, costs.clip_frames) == (512, True, frames)
    expected = 2 * temp_geo // frames + products(1792, 1024, 768, 512) + location + refiner // frames
    assert costs.macs_per_frame == expected
    assert costs.not_counted == ["clip", "dinov2"]


@pytest.mark.usefixtures("no_backbones")
def test_without_geo_refiner_nothing_runs_twice() -> None:
    costs = count_costs("vidtag", ["geo_refiner=false"])
    assert not costs.refines
    assert all(one.macs_per_frame_refining == 0 for one in costs.parts)
    assert list(costs.trainable) == ["align"]
    assert costs.settings == {"geo_refiner": False}
    assert [figure.source for figure in costs.published] == ["VidTAG, table 8"]


@pytest.mark.usefixtures("no_backbones")
def test_rows_of_table_8_differ_as_published() -> None:
    ours, published = [], []
    for widths, value in TABLE_8.items():
        costs = count_costs("vidtag", [f"mlp_widths={widths}"])
        figure = costs.published[0]
        assert (figure.source, figure.value) == ("VidTAG, table 8", value * 1e6)
        ours.append(costs.ours(figure) / 1e6)
        published.append(figure.value / 1e6)
    assert [round(one, 1) for one in ours] == [52.2, 52.9, 53.9, 54.5]
    gaps = [theirs - own for theirs, own in zip(published, ours, strict=True)]
    assert max(gaps) - min(gaps) <= 0.1  # each figure is rounded to 0.1
    assert sum(gaps) / 4 == pytest.approx(3.45, abs=0.05)


@pytest.mark.usefixtures("no_backbones")
@pytest.mark.parametrize(
    "setting", ["layers=3", "mlp_widths=500", "sigmas=1,256", "temp_geo=false", "encoders=clip,siglip"]
)
def test_a_model_that_the_paper_does_not_have(setting: str) -> None:
    sources = [figure.source for figure in count_costs("vidtag", [setting]).published]
    assert "VidTAG, table 8" not in sources


def test_geoclip_with_its_backbone() -> None:
    costs = count_costs("geoclip")
    assert part(costs, "image").parameters == 984_320
    assert linear(768, 768, 512) == 984_320
    assert part(costs, "image").macs_per_frame == products(768, 768, 512)
    assert part(costs, "clip").macs_per_frame == 81_012_768_768
    assert (part(costs, "clip").trainable, part(costs, "clip").parameters) == ({}, 303_966_208)
    assert costs.macs_per_frame == 81_012_768_768 + products(768, 768, 512)
    assert [figure.value for figure in costs.published] == [81.91e9]
    assert costs.to_json()["total"]["not_counted"] == []


@pytest.mark.usefixtures("no_backbones")
@pytest.mark.parametrize("name", methods.names())
def test_every_method_is_counted_as_it_would_be_built(name: str) -> None:
    """Sums over parts equal those over the module itself, built for real."""
    cls = methods.get(name)
    costs = count_costs(name)
    method: nn.Module = cls(cls.Config())
    real = sum(parameter.numel() for parameter in method.parameters())
    assert sum(one.parameters or 0 for one in costs.parts if one.kind == "part") == real
    assert costs.to_json()["retrieval"]["macs_per_frame_and_place"] == costs.embed_dim


def test_features_of_another_width() -> None:
    with pytest.raises(SettingError, match="clip gives features 768 wide, the settings say 512"):
        count_costs("geoclip", ["feature_dim=512"])


def test_an_encoder_that_is_none() -> None:
    with pytest.raises(UsageError, match="no encoder 'nope'"):
        count_costs("geoclip", ["encoder=nope"])


@pytest.mark.usefixtures("no_backbones")
def test_settings_beyond_any_machine() -> None:
    with pytest.raises(SettingError, match="cannot be built"):
        count_costs("vidtag", [f"mlp_widths={10**19}"])


VIDEOMAE_S_MACS = 16 * 196 * 3 * 16 * 16 * 384 + 12 * layer_macs(1568, 384, 1536)
CITYGUESSR_PARTS = {
    "heads": linear(384, 166) + linear(384, 157) + linear(384, 91) + linear(384, 6),
    "attention": 3 * linear(1, 6) + 4 * linear(6, 6) + linear(6, 1),
    "scene": linear(420, 256, 128, 64, 32, 16, 16),
    "text": linear(420, 466, 512),
}


def test_cityguessr_with_its_backbone() -> None:
    costs = count_costs("cityguessr", clip_frames=99)
    assert CITYGUESSR_PARTS == {"heads": 161_700, "attention": 43 + 168, "scene": 151_808, "text": 435_290}
    counted = {one.name: one.trainable for one in costs.parts}
    assert counted == {
        name: {"classify": count} for name, count in {"backbone": 21_879_168, **CITYGUESSR_PARTS}.items()
    }
    assert {one.name: one.macs_per_window for one in costs.parts if one.macs_per_window} == {
        "backbone": VIDEOMAE_S_MACS,
        "heads": 384 * 420,
    }
    assert [one.name for one in costs.parts if one.note == "runs in training alone"] == ["attention", "scene", "text"]
    assert (costs.window, costs.clip_frames, costs.embed_dim) == ("16 frames", 16, None)
    assert costs.macs_per_window == VIDEOMAE_S_MACS + 384 * 420
    values = costs.to_json()
    assert values["total"]["macs_per_window"] == costs.macs_per_window
    assert (values["total"]["macs_per_frame"], values["window"]) == (0, "16 frames")


def test_cityguessr_on_frozen_features() -> None:
    costs = count_costs("cityguessr", ["backbone=features", "rows=3"])
    assert costs.window == "3 rows of videomae features"
    frozen, heads = part(costs, "videomae"), part(costs, "heads")
    assert (frozen.kind, frozen.trainable, frozen.parameters) == ("encoder", {}, 21_879_168)
    assert (frozen.macs_per_window, heads.macs_per_window) == (3 * VIDEOMAE_S_MACS, 384 * 420)
    assert costs.trainable == {"classify": sum(CITYGUESSR_PARTS.values())}


@pytest.mark.parametrize(
    ("settings", "frames", "parameters"),
    [
        (["backbone=timesformer", "frames=8"], "8 frames", 121_258_752),
        (["backbone=mae", "frame=first"], "1 frame", 85_798_656),
    ],
)
def test_other_backbones_of_cityguessr(settings: list[str], frames: str, parameters: int) -> None:
    costs = count_costs("cityguessr", [*settings, "width=768", "heads=12", "mlp=3072", "scenes=none", "text=none"])
    assert costs.window == frames
    assert {one.name for one in costs.parts} == {"backbone", "heads"}
    assert part(costs, "backbone").parameters == parameters


@pytest.mark.usefixtures("no_backbones")
def test_an_encoder_of_unknown_shape_before_classes() -> None:
    costs = count_costs("cityguessr", ["backbone=features", "rows=2"])
    assert (part(costs, "videomae").macs_per_window, costs.not_counted) == (None, ["videomae"])
    assert costs.macs_per_window == 384 * 420


AERIAL = 11_176_512  # of torchvision's resnet18, 11,689,512, without its classifier of 1000
GROUND = 33_166_272  # of torchvision's r3d_18, 33,371,472, without its classifier of 400


def transformer(width: int = 512, layers: int = 2) -> int:
    return layers * (4 * (width + 1) * width + linear(width, width, width) + 4 * width) + 2 * width


def resnet_macs(height: int, width: int, stem: int) -> int:
    """Of a ResNet-18 whose first layer's map is so large; the stem's has so many times as many places."""
    total = stem * height * width * 7 * 7 * 3 * 64
    channels = (64, 128, 256, 512)
    for i, count in enumerate(channels):
        if i:
            height, width = (height + 1) // 2, (width + 1) // 2
        inside = channels[max(0, i - 1)]
        total += height * width * count * (9 * inside + 3 * 9 * count + (inside if i else 0))
    return total


def test_gama_and_its_expensive_stem() -> None:
    costs = count_costs("gama", clip_frames=99)
    assert (11_689_512 - linear(512, 1000), 33_371_472 - linear(512, 400)) == (AERIAL, GROUND)
    assert {one.name: one.trainable["contrastive"] for one in costs.parts} == {
        "ground": GROUND, "aerial": AERIAL, "aerial_transformer": transformer(),
        "ground_head": linear(512, 512, 512), "aerial_head": linear(512, 512, 512),
    }  # fmt: skip
    assert transformer(layers=1) - 2 * 512 == 1_577_984  # 1.58 M a layer
    assert part(costs, "aerial").macs_per_place == resnet_macs(220, 220, 1) == 26_856_655_872
    assert part(costs, "aerial_transformer").macs_per_place == 2 * layer_macs(49, 512, 512)
    assert (part(costs, "ground").macs_per_window, part(costs, "ground").macs_per_place) == (40_696_348_672, 0)
    assert (costs.window, costs.clip_frames, costs.embed_dim) == ("8 frames", 8, 512)
    assert costs.macs_per_window == 40_696_348_672 + 2 * 512**2
    assert costs.to_json()["total"]["macs_per_place"] == costs.macs_per_place > 26.8e9
    assert "keys of the gallery are computed once a place" in costs.convention
    repaired = count_costs("gama", ["aerial_stem=torchvision"])
    assert part(repaired, "aerial").macs_per_place == resnet_macs(56, 56, 4) == 1_813_561_344
    assert part(repaired, "aerial").parameters == AERIAL


def test_gamas_baselines() -> None:
    both = count_costs("gama", ["transformer=both", "ground=image"])
    assert {one.name for one in both.parts} >= {"ground_transformer", "aerial_transformer"}
    assert part(both, "ground").parameters == AERIAL
    assert part(both, "ground").macs_per_window == resnet_macs(28, 56, 4)
    screening = count_costs("screening", ["sequence=8", "aerial_stem=torchvision"])
    assert screening.window == "8 frames"
    assert part(screening, "small").macs_per_window == 8 * resnet_macs(56, 56, 4)
    assert part(screening, "region").macs_per_place == resnet_macs(56, 56, 4)
    assert part(count_costs("screening", ["small=3d"]), "small").parameters == GROUND
