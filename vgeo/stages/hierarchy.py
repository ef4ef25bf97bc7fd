"""GAMa's hierarchical search (ECCV 2022, sec. 4.2): clips find tiles, these find regions, and clips search again there.

Shapes: T clips of a video, E embedding width, R regions.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError, UsageError
from vgeo.formats.gallery import Gallery, read_gallery
from vgeo.formats.tile_pictures import tile_pictures
from vgeo.logs import SILENT, Progress
from vgeo.methods.base import Clips
from vgeo.search.exact import Spread, top_k
from vgeo.stages.keys import gallery_keys
from vgeo.stages.models import Model
from vgeo.stages.regions import how_many, members, region_ids
from vgeo.stages.searches import Answers, ExactGallery, near
from vgeo.training.sequence_store import sequence_of

log = logging.getLogger(__name__)

PIECE = 40  # clips of a video (GAMa, sec. 3)
KEEP = "1%"  # of the regions: best in table 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """A screening network over a gallery of regions."""

    model: Model
    regions: Gallery
    keep: str = KEEP  # how many regions, or which share of them


def read_screen(model: Model, regions: Gallery | None = None, keep: str = KEEP) -> Screen:
    """A screening network with its own regions, or others. Raises UsageError, FormatError."""
    if model.method.gallery_kind != "regions":
        raise UsageError(f"--screening: a model of {model.name}, which does not tell regions; train one of screening")
    if regions is None:
        if model.gallery is None:
            raise FormatError(f"{model.folder}: has no gallery.h5 of its regions; train the model again")
        regions = read_gallery(model.gallery)
    how_many(keep, len(regions))
    return Screen(model=model, regions=regions, keep=keep)


class RegionRanking:
    """Ranks the regions for a video by the tiles that its clips were found on."""

    def __init__(self, screen: Screen, tiles: Gallery, compute: Compute, progress: Progress = SILENT) -> None:
        self._method = screen.model.retriever.to(compute.device)
        self._tiles, self._compute = tile_pictures(tiles), compute
        self._keys_RE = near(gallery_keys(screen.model, screen.regions, compute, progress), compute)
        windows = self._method.windows
        assert windows is not None
        self.length = windows.length  # tiles that are looked at: the first of a video

    @torch.inference_mode()
    def __call__(self, tile_T: np.ndarray, count: int) -> np.ndarray:
        """The best regions [count], best first, of a video whose clips were found on these rows of tiles."""
        rows = sequence_of(tile_T, self.length)
        pixels = {int(row): self._tiles.read(int(row)) for row in np.unique(rows)}
        sequence_1TSSC = torch.from_numpy(np.stack([pixels[int(row)] for row in rows]))[None].to(self._compute.device)
        mask_1T = torch.ones(sequence_1TSSC.shape[:2], dtype=torch.bool, device=self._compute.device)
        with self._compute.autocast():
            query_1E = self._method.queries(Clips(frames_BTHWC=sequence_1TSSC, mask_BT=mask_1T))[:, 0]
        found: np.ndarray = top_k(query_1E.float(), self._keys_RE, count).index_NK[0].cpu().numpy()
        return found


class HierarchicalGallery:
    """A gallery of tiles that is searched twice: as a whole, and again in the regions that the first answers lead to.

    Probabilities are a softmax over the tiles of these regions. A region without any tile leaves the others; where
    none of the kept ones has any, the answer is that of the whole gallery.
    """

    def __init__(
        self, model: Model, gallery: Gallery, screen: Screen, compute: Compute, progress: Progress = SILENT
    ) -> None:
        self.gallery = gallery
        self._whole = ExactGallery.of_model(model, gallery, compute, progress)
        self._rank = RegionRanking(screen, gallery, compute, progress)
        self._members = members(screen.regions, gallery)
        self._count = how_many(screen.keep, len(screen.regions))
        self._ids = region_ids(screen.regions)
        log.info("searched again in the best %d of %d regions", self._count, len(screen.regions))

    @property
    def width(self) -> int:
        """E, of the keys."""
        return self._whole.width

    def best(self, queries_TE: Tensor) -> np.ndarray:
        """The best place of each query in the whole gallery: [T, 2]."""
        return self._whole.best(queries_TE)

    def __call__(self, queries_TE: Tensor, first_TE: Tensor | None, *, k: int, rows: int, within_km: float) -> Answers:
        """Find k distinct places a clip, and the best `rows`, in the video's best regions; as ExactGallery does.

        GAMa's videos are of some 40 clips, and have regions of their own; ours: a longer one is cut into pieces of
        about that many, for it drives on to other regions. (The published search, like `vgeo rank`, goes by the first
        clips alone.) Where one piece's regions hold fewer places than asked for, all clips get so many.
        """
        pieces = max(1, round(len(queries_TE) / PIECE))
        bounds = np.linspace(0, len(queries_TE), pieces + 1).round().astype(int)
        parts = [self._piece(queries_TE[a:b], k=k, rows=rows, within_km=within_km) for a, b in pairwise(bounds)]
        return parts[0] if pieces == 1 else _joined(parts)

    def _piece(self, queries_TE: Tensor, *, k: int, rows: int, within_km: float) -> Answers:
        """The answers for a video, or a piece of one."""
        regions = self._rank(self._whole.best_rows(queries_TE[: self._rank.length]), self._count)
        log.debug("best regions: %s", ", ".join(self._ids[region] for region in regions[:5]))
        left = self._members.rows_of(regions)
        if not len(left):
            log.warning("the best regions hold no tile of the gallery; answered from all of it")
            return self._whole(queries_TE, None, k=k, rows=rows, within_km=within_km)
        found = self._whole.part(left)(queries_TE, None, k=k, rows=rows, within_km=within_km)
        return found._replace(row_TK=left[found.row_TK])


def _joined(parts: Sequence[Answers]) -> Answers:
    """Answers of pieces, one after the other, with as many candidates as all have."""
    k, rows = (min(getattr(part, name).shape[1] for part in parts) for name in ("candidates_deg", "row_TK"))
    return Answers(
        np.concatenate([part.candidates_deg[:, :k] for part in parts]),
        np.concatenate([part.probability_TK[:, :k] for part in parts]),
        Spread(
            torch.cat([part.spread.confidence_N for part in parts]),
            torch.cat([part.spread.radius_km_N for part in parts]),
        ),
        np.concatenate([part.row_TK[:, :rows] for part in parts]),
        np.concatenate([part.row_probability_TK[:, :rows] for part in parts]),
    )
