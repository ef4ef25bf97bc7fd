"""A gallery's keys, of every level, and what is searched for among them by a method that retrieves twice."""

import dataclasses

import numpy as np
import pytest
import torch

from vgeo.errors import FormatError
from vgeo.formats.gallery import Gallery
from vgeo.methods._gallery import embed_rows, final_queries
from vgeo.methods.base import Clips, Places
from vgeo.methods.vidtag import VidTag

CPU = torch.device("cpu")
GALLERY = Gallery(latlon_deg=np.random.default_rng(0).uniform((-60, -170), (60, 170), (50, 2)))


def made(**settings: object) -> VidTag:
    torch.manual_seed(0)
    return VidTag(dataclasses.replace(VidTag.debug_config(), **settings)).eval()


def two_clips() -> Clips:
    features = {name: torch.randn(2, 5, dim) for name, dim in (("clip", 24), ("dinov2", 32))}
    return Clips(features=features, mask_BT=torch.ones(2, 5, dtype=torch.bool))


@torch.no_grad()
def test_rows_of_every_level_are_embedded_in_order() -> None:
    method = made(sigmas=(256.0, 4096.0), level_radii_km=(1.0, 0.1))
    places = Places(latlon_deg=torch.from_numpy(GALLERY.latlon_deg))
    for level, expected in ((None, method.keys(places)), *((n, method.level_keys(places, n)) for n in range(2))):
        found = torch.cat(list(embed_rows(method, GALLERY, CPU, 7, level)))
        assert torch.allclose(found, expected, atol=1e-3), level  # rounding of phases differs with the rows


@torch.no_grad()
def test_the_second_retrieval_starts_from_the_best_places_of_the_first() -> None:
    method, clips = made(), two_clips()
    keys = torch.cat(list(embed_rows(method, GALLERY, CPU, 50)))
    first = method.queries(clips)
    assert torch.equal(final_queries(method, clips, keys, GALLERY.latlon_deg), first)
    method.begin("refine")
    best = (first.flatten(0, 1) @ keys.T).argmax(1).view(2, 5)
    expected = method.refined(clips, torch.from_numpy(GALLERY.latlon_deg)[best])
    assert torch.allclose(final_queries(method, clips, keys, GALLERY.latlon_deg), expected, atol=1e-6)
    with pytest.raises(FormatError, match="8 wide, the model's 32"):
        final_queries(method, clips, keys[:, :8], GALLERY.latlon_deg)
