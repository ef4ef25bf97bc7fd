"""Search among the tiles of a video's best regions only: steps 3 and 4 of GAMa's search (ECCV 2022, sec. 4.2).

The published evaluation ranks the whole gallery for every clip and then drops, in order, what is not in one of the
regions. What is compared here is what remains, so the answer is the same and the work that of the small gallery.

Shapes: N queries (clips), V videos, n regions of a video, G gallery keys, E embedding width, K answers a query.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vgeo.search.exact import Keys, TopK, top_k
from vgeo.search.members import NONE, Ints, Members


def top_k_within(
    queries_NE: Tensor,
    keys_GE: Keys,
    video_N: Ints,
    regions_Vn: Ints,
    members: Members,
    k: int,
    *,
    scale: float | None = None,
) -> TopK:
    """Return the k best keys of each query among the tiles of its video's regions, rows of the whole gallery.

    video_N: row of `regions_Vn` for each query. regions_Vn: the regions kept for each video, NONE where there are
    fewer. scale: as of `top_k`; the sum is over the tiles that are left. Where fewer than k are left, rows are NONE
    and scores -inf; where none is, the sum is -inf too.
    """
    n, device = len(queries_NE), queries_NE.device
    scores = torch.full((n, k), -torch.inf, device=device)
    index = torch.full((n, k), NONE, dtype=torch.int64, device=device)
    log_total = torch.full((n,), -torch.inf, dtype=torch.float64, device=device)
    for video, clips in _by_video(video_N):
        rows = members.rows_of(regions_Vn[video])
        if not len(rows):
            continue
        found = top_k(queries_NE[clips], _taken(keys_GE, rows), k, scale=scale)
        width = found.index_NK.shape[1]
        scores[clips, :width] = found.scores_NK
        index[clips, :width] = torch.from_numpy(rows).to(device)[found.index_NK]
        if found.log_total_N is not None:
            log_total[clips] = found.log_total_N
    return TopK(scores, index, None if scale is None else log_total)


def _by_video(video_N: Ints) -> Iterator[tuple[int, slice | Tensor]]:
    """Each video with its queries: a slice where they lie in a row, else their places."""
    order = np.argsort(video_N, kind="stable")
    videos, first = np.unique(video_N[order], return_index=True)
    for video, clips in zip(videos.tolist(), np.split(order, first[1:]), strict=True):
        together = clips[-1] - clips[0] == len(clips) - 1
        yield video, slice(int(clips[0]), int(clips[-1]) + 1) if together else torch.from_numpy(clips)


def _taken(keys_GE: Keys, rows: Ints) -> Keys:
    """Some rows of the keys; a view of them where they lie in a row."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return keys_GE[int(rows[0]) : int(rows[-1]) + 1]
    if isinstance(keys_GE, Tensor):
        return keys_GE.index_select(0, torch.from_numpy(rows).to(keys_GE.device))
    return keys_GE[rows]
