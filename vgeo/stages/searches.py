"""How a gallery is searched: all of its places, or the best of them divided again and again.

Shapes: T frames, G gallery rows, E embedding width, K candidates.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.gallery import Gallery
from vgeo.geo.lattice import LEAST_KM
from vgeo.logs import SILENT, Progress
from vgeo.methods._gallery import embed_rows
from vgeo.records import Floats
from vgeo.search.cell_search import CellSearch
from vgeo.search.exact import Spread, probability_mass, top_k
from vgeo.search.refine import RefinedSearch, plan, typical_spacing_km
from vgeo.search.when_cells_pay import WhenCellsPay
from vgeo.stages.keys import gallery_keys
from vgeo.stages.models import Model

log = logging.getLogger(__name__)

_MOST_ROWS = 4096  # looked through for candidates at distinct places
_CHUNK = 4096


class Answers(NamedTuple):
    """What a search finds for the frames of a clip."""

    candidates_deg: Floats  # [T, K, 2] distinct places, best first
    probability_TK: Floats
    spread: Spread
    row_TK: NDArray[np.int64]  # the gallery's best rows, for what these are labelled with
    row_probability_TK: Floats


class ExactGallery:
    """All places of a gallery, compared with every frame; a large gallery's by cells, with the same answers."""

    def __init__(self, gallery: Gallery, keys_GE: Tensor, scale: float) -> None:
        self.gallery, self._keys_GE, self._scale = gallery, keys_GE, scale
        self._by_cells = WhenCellsPay(keys_GE, gallery.latlon_deg)

    @property
    def keys(self) -> Tensor:
        """What the places are to the model: [G, E]."""
        return self._keys_GE

    @classmethod
    def of_model(cls, model: Model, gallery: Gallery, compute: Compute, progress: Progress = SILENT) -> "ExactGallery":
        """All places of a gallery, as a model sees them; its keys are embedded, or read, once."""
        return cls(gallery, near(gallery_keys(model, gallery, compute, progress), compute), model.retriever.scale)

    def part(self, rows: NDArray[np.int64]) -> "ExactGallery":
        """Some of the rows, as a gallery of their own."""
        index = torch.from_numpy(rows).to(self._keys_GE.device)
        return ExactGallery(self.gallery.take(rows), self._keys_GE.index_select(0, index), self._scale)

    def best_rows(self, queries_TE: Tensor) -> NDArray[np.int64]:
        """The best row of each query: [T]."""
        with _checked_keys():
            cells = self._by_cells.for_best(len(queries_TE))
        found = top_k(queries_TE, self._keys_GE, 1) if cells is None else cells.top_k(queries_TE, 1)
        best: NDArray[np.int64] = found.index_NK[:, 0].cpu().numpy()
        return best

    @property
    def width(self) -> int:
        """E, of the keys."""
        return self._keys_GE.shape[1]

    def best(self, queries_TE: Tensor) -> Floats:
        """The best place of each query: [T, 2]."""
        return self.gallery.latlon_deg[self.best_rows(queries_TE)]

    def __call__(self, queries_TE: Tensor, first_TE: Tensor | None, *, k: int, rows: int, within_km: float) -> Answers:
        """Find k distinct places a frame, and the gallery's best `rows` at distinct places.

        first_TE: what was searched for before; without meaning where all is compared.
        """
        with _checked_keys():
            cells = self._by_cells.for_totals(len(queries_TE))
        index_TK, score_TK, log_total_T = self._candidates(queries_TE, max(k, rows), cells)
        if cells is not None:
            log_total_T, spread = cells.total(
                queries_TE,
                score_TK[:, 0],
                self.gallery.latlon_deg[index_TK[:, 0].numpy()],
                scale=self._scale,
                within_km=within_km,
            )
            log.debug("searched by cells; of %s", cells)
        else:
            assert log_total_T is not None
            self._by_cells.tell(self._scale * score_TK[:, 0])
            spread = probability_mass(
                queries_TE,
                self._keys_GE,
                self.gallery.latlon_deg,
                index_TK[:, 0],
                log_total_T,
                scale=self._scale,
                within_km=within_km,
            )
        probability_TK = torch.exp(self._scale * score_TK.double() - log_total_T[:, None]).clamp(max=1)
        # The answer lies within any distance of itself, and its score is settled in float64, unlike the sum's products.
        least_T = probability_TK[:, 0].to(spread.confidence_N)
        spread = spread._replace(confidence_N=torch.maximum(spread.confidence_N, least_T))
        index, probability = index_TK.cpu().numpy(), probability_TK.cpu().numpy()
        return Answers(self.gallery.latlon_deg[index[:, :k]], probability[:, :k], spread, index, probability)

    def _candidates(
        self, queries_TE: Tensor, wanted: int, cells: CellSearch | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Best rows at distinct places: index [T, K], score [T, K], and the log-sum-exp over the gallery [T].

        Without the last where cells are searched.

        A place that fills several rows (GeoCLIP's own gallery repeats 5,877 of its points; a camera stands still)
        counts with its best row. Other than that nothing is suppressed: neighbours of the answer are candidates too.
        """
        most = min(len(self.gallery), _MOST_ROWS)
        rows = min(2 * wanted, most)
        while True:
            if cells is None:
                found = top_k(queries_TE, self._keys_GE, rows, scale=self._scale)
            else:
                found = cells.top_k(queries_TE, rows)
            firsts = [_firsts(self.gallery.latlon_deg[row]) for row in found.index_NK.cpu().numpy()]
            fewest = min(map(len, firsts))
            if fewest >= wanted or rows == most:
                break
            rows = min(8 * rows, most)
        k = min(wanted, fewest)
        chosen_TK = torch.from_numpy(np.stack([first[:k] for first in firsts])).to(found.index_NK.device)
        return found.index_NK.gather(1, chosen_TK), found.scores_NK.gather(1, chosen_TK), found.log_total_N


@contextmanager
def _checked_keys() -> Iterator[None]:
    """Say of keys that are not finite what they come from."""
    try:
        yield
    except ValueError as error:
        raise FormatError(f"the gallery has {error}: its stored keys, or the model, are damaged") from error


class RefinedGallery:
    """A gallery whose best places are divided until they are `refine_km` apart; see `search.refine`."""

    def __init__(
        self, model: Model, gallery: Gallery, compute: Compute, spacing_km: float, refine_km: float, progress: Progress
    ) -> None:
        self.gallery, self._method, self._compute = gallery, model.retriever, compute
        radii_km = model.retriever.level_radii_km
        steps = plan(spacing_km, refine_km, radii_km)
        keys_GE = near(gallery_keys(model, gallery, compute, progress, level=steps.level), compute)
        self.width = keys_GE.shape[1]
        scales = [model.retriever.level_scale(level) for level in range(len(radii_km))]
        self._search = RefinedSearch(keys_GE, gallery.latlon_deg, self._embed, scales, steps)
        self.best = self._search.best

    def __call__(self, queries_TE: Tensor, first_TE: Tensor | None, *, k: int, rows: int, within_km: float) -> Answers:
        """Find the k best of the finest places of each frame, and the gallery's best `rows`.

        first_TE: what was searched for before, which leads the way as well.
        """
        found = self._search(queries_TE, k, guides_NE=first_TE, rows=rows, within_km=within_km)
        return Answers(
            found.candidates_deg, found.probability_NK, found.spread, found.index_NK, found.row_probability_NK
        )

    def _embed(self, latlon_deg: Floats, level: int) -> Tensor:
        places = Gallery(latlon_deg=latlon_deg)
        return torch.cat(list(embed_rows(self._method, places, self._compute.device, _CHUNK, level)))


def check_refinable(model: Model, refine_km: float) -> None:
    """Raise UsageError for a spacing that cannot be, SettingError for a model that has keys of one level only."""
    if not LEAST_KM <= refine_km < math.inf:
        raise UsageError(f"--refine-km {refine_km:g}: must be at least {LEAST_KM:g}, a metre")
    if not model.retriever.level_radii_km:
        raise SettingError(
            f"--refine-km needs a model with keys for coarse and for fine galleries, which {model.name} has not; train "
            "one with --method vidtag --set level_radii_km=..., a radius for each of its sigmas"
        )


def gallery_search(
    model: Model, gallery: Gallery, compute: Compute, refine_km: float | None, progress: Progress = SILENT
) -> ExactGallery | RefinedGallery:
    """Return an exact search, or a refined one where `refine_km` is given and the gallery's places are further apart.

    Raises what `check_refinable` does, and InputError for a gallery too small to tell how far its places are apart.
    """
    if refine_km is None:
        return ExactGallery.of_model(model, gallery, compute, progress)
    check_refinable(model, refine_km)
    said_km = gallery.attributes.get("spacing_km")
    nominal_km = float(said_km) if isinstance(said_km, int | float) and 0 < said_km < math.inf else None
    firsts = _firsts(gallery.latlon_deg)
    distinct = gallery if len(firsts) == len(gallery) else gallery.take(firsts)
    found_km = typical_spacing_km(distinct.latlon_deg, nominal_km)
    if found_km is None:
        raise InputError(
            f"--refine-km: {len(distinct)} places do not tell how far they are apart; make a gallery with "
            "'vgeo build-gallery grid'"
        )
    if refine_km >= found_km:
        log.info("the gallery's places are %.3g km apart: nothing to refine", found_km)
        return ExactGallery.of_model(model, gallery, compute, progress)
    log.info("the gallery's places, %.3g km apart, are divided down to %g km", found_km, refine_km)
    return RefinedGallery(model, distinct, compute, found_km, refine_km, progress)


def _firsts(latlon_deg: Floats) -> NDArray[np.int64]:
    """Where each distinct position [M, 2] comes first, ascending."""
    _, first = np.unique(latlon_deg[:, 0] + 1j * latlon_deg[:, 1], return_index=True)
    return np.sort(first)


def near(keys_GE: Tensor, compute: Compute) -> Tensor:
    """Put the keys on the accelerator where they fit into half of its free memory; else they follow chunk by chunk."""
    if compute.device.type != "cuda":
        return keys_GE
    free, _ = torch.cuda.mem_get_info(compute.device)
    return keys_GE.to(compute.device) if keys_GE.numel() * 4 < free / 2 else keys_GE
