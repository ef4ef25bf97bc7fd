"""Nearest reference frame."""

import pytest
import torch

from vgeo.methods.base import Clips, Places
from vgeo.methods.nearest import Nearest, NearestConfig


def test_encoders_weigh_the_same_whatever_their_scale_and_order() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 6), torch.randn(4, 10)
    method = Nearest(NearestConfig())
    keys = method.keys(Places(latlon_deg=torch.zeros(4, 2), features={"a": a, "b": 100 * b}))
    clips = Clips(features={"b": b[None], "a": 5 * a[None]}, mask_BT=torch.ones(1, 4, dtype=torch.bool))
    cosine = (method.queries(clips)[0] @ keys.T).diagonal()
    assert torch.allclose(cosine, torch.ones(4), atol=1e-6)
    mixed = (torch.cosine_similarity(a[0], a[1], 0) + torch.cosine_similarity(b[0], b[1], 0)) / 2
    assert (keys[0] @ keys[1]).item() == pytest.approx(mixed.item(), abs=1e-6)


def test_the_temperature_is_a_setting() -> None:
    assert Nearest(NearestConfig(temperature=0.1)).scale == pytest.approx(10)
    with pytest.raises(ValueError, match="temperature"):
        NearestConfig(temperature=0)
