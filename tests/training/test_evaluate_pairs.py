"""What is measured of held-out clips with tiles."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pairmaker import SHAPE, number_of, write_moments
from torch import Tensor

from vgeo.device import Compute
from vgeo.formats.gallery import Gallery
from vgeo.geo.sphere import distance_km
from vgeo.methods.base import Clips, Places, Retriever
from vgeo.training.data import Usable, usable_frames
from vgeo.training.evaluate_pairs import embed_clips, measured, validate_pairs
from vgeo.training.pair_store import PairStore

ANY = Usable(lambda file: np.ones(len(file.latlon_deg), bool), "is a second", "")


class Counting(Retriever):
    """Embeds a clip by the number of its first picture: the tile of that number is its best one."""

    gallery_kind = "tiles"

    def __init__(self, count: int) -> None:
        super().__init__(None)
        self.weight = torch.nn.Parameter(torch.eye(count))

    @property
    def encoders(self) -> tuple[str, ...]:
        return ()

    def queries(self, clips: Clips) -> Tensor:
        assert clips.frames_BTHWC is not None and not self.training
        first_B = torch.from_numpy(number_of(clips.frames_BTHWC[:, 0].numpy()))
        return self.weight[first_B][:, None]

    def keys(self, places: Places) -> Tensor:
        raise NotImplementedError


def test_clips_begin_at_their_seconds_and_their_best_tiles_are_measured(tmp_path: Path) -> None:
    one = write_moments(tmp_path / "a", [4, 3])
    store = PairStore([one], usable_frames([one], ANY), None, SHAPE, Compute(torch.device("cpu"), torch.float32),
                      length=8, rate_hz=15.0)  # fmt: skip
    method = Counting(110).train()
    rng = np.random.default_rng(0)
    gallery = Gallery(latlon_deg=np.stack([rng.uniform(0, 0.01, 110), rng.uniform(0, 0.02, 110)], axis=1))
    found = validate_pairs(method, store, gallery, torch.eye(110))
    assert method.training, "put back to training"
    firsts = [0, 15, 30, 45, 60, 75, 90]
    errors = [float(distance_km(gallery.latlon_deg[n], place)) for n, place in zip(firsts, one.latlon_deg, strict=True)]
    assert found.clips == 7 and found.median_error_km == pytest.approx(np.median(errors))
    assert found.recall == pytest.approx(np.mean([error <= 0.05 * 1.609344 for error in errors]))
    assert found.within["1.6"] == pytest.approx(np.mean([error <= 1.609344 for error in errors]))
    store.close()


def test_clips_are_embedded_in_order(tmp_path: Path) -> None:
    one = write_moments(tmp_path / "a", [70, 2])
    store = PairStore([one], usable_frames([one], ANY), None, SHAPE, Compute(torch.device("cpu"), torch.float32),
                      length=8, rate_hz=15.0)  # fmt: skip
    queries = embed_clips(Counting(1100).eval(), store)
    assert queries.argmax(1).tolist() == [15 * second for second in range(72)]
    store.close()


def test_thresholds_are_in_miles() -> None:
    found = measured(np.array([0.08, 0.081, 0.16, 0.17, 1.6, 5.0]))
    assert found.recall == pytest.approx(1 / 6)
    assert found.within == {"0.16": pytest.approx(3 / 6), "0.32": pytest.approx(4 / 6), "0.8": pytest.approx(4 / 6),
                            "1.6": pytest.approx(5 / 6)}  # fmt: skip
    assert found.median_error_km == pytest.approx(0.165)
