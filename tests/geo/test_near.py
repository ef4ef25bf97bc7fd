"""Neighbours within a distance, against all pairs."""

import numpy as np
import pytest

from vgeo.geo import near
from vgeo.geo.near import any_within
from vgeo.geo.sphere import distance_km


@pytest.mark.parametrize("pairs", [3, 2**21])
@pytest.mark.parametrize("within_km", [0.01, 0.5, 20.0])
def test_all_pairs_agree(monkeypatch: pytest.MonkeyPatch, pairs: int, within_km: float) -> None:
    monkeypatch.setattr(near, "_PAIRS", pairs)
    rng = np.random.default_rng(0)
    for centre in ((51.5, 0.0), (89.95, 100.0), (0.0, 180.0)):
        asked, others = (np.array(centre) + rng.normal(0, 0.04, (n, 2)) for n in (200, 150))
        asked, others = (
            np.stack([np.clip(x[:, 0], -90, 90), (x[:, 1] + 180) % 360 - 180], -1) for x in (asked, others)
        )
        asked[:5] = others[:5]
        expected = (distance_km(asked[:, None], others[None]) <= within_km).any(axis=1)
        assert np.array_equal(any_within(asked, others, within_km), expected)
        assert expected.any()


def test_nobody_is_near_to_nothing() -> None:
    assert not any_within(np.zeros((3, 2)), np.zeros((0, 2)), 1e9).any()
    assert len(any_within(np.zeros((0, 2)), np.zeros((3, 2)), 1)) == 0
    assert any_within([[0, 0]], [[0, 180]], 20016).all()
