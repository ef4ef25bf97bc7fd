"""The hierarchical search against the steps written out, for short videos and for long ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tilemaker import write_tiles

from vgeo.device import Compute
from vgeo.errors import UsageError
from vgeo.formats.gallery import Gallery
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.methods.base import Clips
from vgeo.methods.gama import Gama
from vgeo.methods.screening import Screening
from vgeo.stages.aerial_gallery import AerialRules, build_aerial
from vgeo.stages.hierarchy import HierarchicalGallery, RegionRanking, Screen, read_screen
from vgeo.stages.keys import embed_gallery
from vgeo.stages.models import Model
from vgeo.stages.regions import members

CPU = Compute(torch.device("cpu"), torch.float32)
X, Y, ACROSS, STEP = 153_999, 196_998, 3, 3


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Model, Gallery, Model, Gallery]:
    """12 x 6 tiles in eight blocks, and two models with drawn weights."""
    folder = write_tiles(tmp_path / "tiles", [(X + i, Y + j) for i in range(12) for j in range(6)])
    tiles = build_aerial(folder, AerialRules())
    regions = build_aerial(folder, AerialRules(regions=True, across=ACROSS, step=STEP))
    assert len(tiles) == 72 and len(regions) == 8
    torch.manual_seed(0)
    models = []
    for name, cls in (("gama", Gama), ("screening", Screening)):
        method = cls(cls.debug_config()).eval()
        models.append(Model(name=name, method=method, encoders={}, hash=name * 4, folder=None, gallery=None))
    return models[0], tiles, models[1], regions


def plain(
    queries: torch.Tensor, model: Model, tiles: Gallery, screening: Model, regions: Gallery, keep: int
) -> list[list[int]]:
    """For each clip of a video the tiles of its best regions, best first, step by step."""
    with torch.inference_mode():
        keys, region_keys = embed_gallery(model, tiles, CPU), embed_gallery(screening, regions, CPU)
        first = (queries @ keys.T).argmax(1)
        length = screening.method.config.sequence
        seen = first[:length] if len(first) >= length else first[np.random.default_rng(0).choice(len(first), length)]
        pictures = tile_pictures(tiles)
        sequence = torch.from_numpy(np.stack([pictures.read(int(row)) for row in seen]))[None]
        query = screening.retriever.queries(Clips(frames_BTHWC=sequence, mask_BT=torch.ones(1, length).bool()))[0, 0]
        best = (region_keys @ query).argsort(descending=True)[:keep].tolist()
        inside = sorted({int(row) for region in best for row in members(regions, tiles).rows_of(np.array([region]))})
        return [[inside[n] for n in scores.argsort(descending=True)] for scores in queries @ keys[inside].T]


@pytest.mark.parametrize("clips", [1, 3, 4])
def test_clips_are_searched_for_in_the_regions_that_they_lead_to(parts, clips: int) -> None:
    model, tiles, screening, regions = parts
    queries = torch.nn.functional.normalize(torch.randn(clips, 16), dim=1)
    search = HierarchicalGallery(model, tiles, Screen(model=screening, regions=regions, keep="2"), CPU)
    found = search(queries, None, k=5, rows=7, within_km=1.0)
    expected = plain(queries, model, tiles, screening, regions, 2)
    assert found.row_TK[:, :7].tolist() == [row[:7] for row in expected]
    np.testing.assert_array_equal(found.candidates_deg, tiles.latlon_deg[np.array(expected)[:, :5]])
    everything = search(queries, None, k=18, rows=18, within_km=1.0)
    np.testing.assert_allclose(everything.probability_TK.sum(1), 1, atol=1e-6)


def test_a_long_video_is_cut_into_pieces_with_regions_of_their_own(parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """130 clips are three pieces, and each is answered in the region of its first tile."""
    model, tiles, _, regions = parts
    inside = [[int(row) for row in members(regions, tiles).rows_of(np.array([region]))] for region in range(8)]
    home = {row: region for region, rows in enumerate(inside) for row in rows}
    # Drawn weights prefer one region whatever they see.
    monkeypatch.setattr(RegionRanking, "__call__", lambda self, tile_T, count: np.array([home[int(tile_T[0])]]))
    keys = embed_gallery(model, tiles, CPU)
    pieces = [(0, 43, 6), (43, 87, 1), (87, 130, 4)]
    seen = [inside[region][clip % 9] for first, end, region in pieces for clip in range(first, end)]
    search = HierarchicalGallery(model, tiles, Screen(model=parts[2], regions=regions, keep="1"), CPU)
    found = search(keys[seen], None, k=4, rows=4, within_km=1.0)
    for first, end, region in pieces:
        scores = keys[seen[first:end]] @ keys[inside[region]].T
        expected = [[inside[region][n] for n in row[:4]] for row in scores.argsort(dim=1, descending=True).tolist()]
        assert found.row_TK[first:end].tolist() == expected
    assert len(found.spread.confidence_N) == len(found.spread.radius_km_N) == 130


def test_only_screening_networks_tell_regions(parts) -> None:
    model, _, screening, regions = parts
    with pytest.raises(UsageError, match="does not tell regions"):
        read_screen(model, regions)
    with pytest.raises(UsageError, match="give a number above 0"):
        read_screen(screening, regions, keep="0%")
