"""Score rankings as GAMa's tables do: recall at k by its two rules, first places within miles, video-level recall.

Shapes: Q queries that are ranked and known, K the longest ranking, I ranked ids, M right answers.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np

from vgeo.errors import InputError, UsageError
from vgeo.formats.rankings import NONE, Ints, Rankings
from vgeo.metrics import TOLERANCE_MI, WITHIN_MI, distance_mi, first_hits, top_percent
from vgeo.records import Floats, RankingReport, RecallAt
from vgeo.stages.ranking_truth import Ranked, Rule, Truth, answers, positions
from vgeo.stages.regions import share_or_count

log = logging.getLogger(__name__)

AT = ("1", "5", "10", "1%", "10%")  # GAMa, tables 3 to 5
_CHUNK = 4096


def score_rankings(
    rankings: Rankings,
    truth: Truth,
    *,
    rule: Rule = "cn",
    ranked: Ranked | None = None,
    size: int | None = None,
    at: Sequence[str] = AT,
    within_mi: Sequence[float] = WITHIN_MI,
    tolerance_mi: float = TOLERANCE_MI,
    max_gap_s: float = 2.0,
) -> RankingReport:
    """Score every query that is ranked and whose truth is known.

    rule: cn, the tile of the clip's own second is right, and so is every one within the tolerance of the clip's place;
    ucn, only the tile that the clip is in; regions, only the video's own, and for first places the tolerance holds.
    ranked: what there was to rank, None where only the rankings tell. size: how many that were, for percentages; None:
    as many as `ranked` has, else (cn) as there are lines in the tables of the truth.
    A ranking that is shorter than k is taken as it is; where all are, there is no recall at k.
    Raises InputError when nothing matches, UsageError.
    """
    _check(at, within_mi, tolerance_mi)
    found = answers(rankings.queries, truth, rule, ranked, max_gap_s)
    known = np.array([q for q, true in enumerate(found.true) if true], np.int64)
    if not len(known):
        raise InputError(_why_nothing(rankings, found.unused))
    number = {name: n for n, name in enumerate(rankings.ids)}
    true_QM = _padded([[number[name] for name in found.true[q] if name in number] for q in known.tolist()])
    truth_deg = found.latlon_deg[known]
    places_deg = positions(rankings.ids, truth, rule, ranked, max_gap_s)
    longest = int(rankings.lengths[known].max())
    gallery = size if size is not None else _size(truth, rule, ranked)
    near = places_deg if rule == "cn" else None
    ranks = _ranks(rankings, known, true_QM, near, truth_deg, tolerance_mi)
    first = rankings.padded(known, 1)
    first = first if first.shape[1] else np.full((len(known), 1), NONE)
    # Between places of videos the tolerance holds for first places alone (code): recall at 1 is not that of `ranks`.
    firsts = first_hits(first, true_QM, places_deg, truth_deg, tolerance_mi) if rule == "regions" else ranks
    errors = np.where(first[:, 0] >= 0, distance_mi(places_deg[first[:, 0]], truth_deg), np.nan)
    placed = not np.isnan(errors).all()
    return RankingReport(
        rule=rule,
        queries=len(known),
        gallery=gallery,
        longest=longest,
        recalls=tuple(_recall(text, gallery, longest, firsts, ranks) for text in at),
        tolerance_mi=None if rule == "ucn" else float(tolerance_mi),
        within_mi=tuple(map(float, within_mi)),
        within_percent=tuple(
            top_percent(first_hits(first, true_QM, places_deg, truth_deg, limit), 1) if placed else None
            for limit in within_mi
        ),
        mean_error_mi=float(np.nanmean(errors)) if placed else None,
        median_error_mi=float(np.nanmedian(errors)) if placed else None,
        measured=int((~np.isnan(errors)).sum()),
        without_position=_names(rankings, known[np.isnan(truth_deg).any(axis=1)]),
        unanswered=_names(rankings, known[rankings.lengths[known] == 0]),
        repeating=_repeating(rankings, known),
        unplaced_ids=0 if rule == "ucn" else int(np.isnan(places_deg).any(axis=1).sum()),
        unmatched_queries=tuple(name for name, true in zip(rankings.queries, found.true, strict=True) if not true),
        unmatched_truth=tuple(found.unused),
    )


def _check(at: Sequence[str], within_mi: Sequence[float], tolerance_mi: float) -> None:
    for limit in (*within_mi, tolerance_mi):
        if not (math.isfinite(limit) and limit >= 0):
            raise UsageError(f"{limit:g} miles: must be a distance")
    for text in at:
        share_or_count(text, 100)


def _why_nothing(rankings: Rankings, unused: Sequence[str]) -> str:
    some = ", ".join(unused[:3]) or "nothing with a position"
    return (
        f"nothing is known of any query: rankings of {', '.join(rankings.queries[:3])}; truth of {some}; clips are "
        "called <video>_<second>, and videos are ranked for with the rule regions"
    )


def _size(truth: Truth, rule: Rule, ranked: Ranked | None) -> int | None:
    if ranked is not None:
        return ranked.size
    lines = sum(table.lines for table in truth.known)
    return lines if rule == "cn" and lines else None  # a centred tile for each clip


def _padded(rows: list[list[int]]) -> Ints:
    found = np.full((len(rows), max(1, *map(len, rows))), NONE, np.int64)
    for row, numbers in enumerate(rows):
        found[row, : len(numbers)] = numbers
    return found


def _ranks(
    rankings: Rankings, known: Ints, true_QM: Ints, places_deg: Floats | None, truth_deg: Floats, within: float
) -> Ints:
    """Where each query's truth comes first, from 0; -1 where it does not."""
    ranks = np.empty(len(known), np.int64)
    for begin in range(0, len(known), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        listed = rankings.padded(known[part], int(rankings.lengths[known[part]].max()))
        ranks[part] = first_hits(listed, true_QM[part], places_deg, truth_deg[part], within)
    return ranks


def _recall(text: str, gallery: int | None, longest: int, firsts: Ints, ranks: Ints) -> RecallAt:
    """firsts: ranks that tell whether a first place is right."""
    if text.endswith("%") and gallery is None:
        return RecallAt(asked=text, k=None, percent=None)
    k = share_or_count(text, gallery or 0)
    enough = k > 0 and (longest >= k or longest == gallery)
    return RecallAt(asked=text, k=k or None, percent=top_percent(firsts if k == 1 else ranks, k) if enough else None)


def _repeating(rankings: Rankings, known: Ints) -> int:
    lists = (rankings.number[rankings.first[q] : rankings.first[q + 1]] for q in known.tolist())
    return sum(len(np.unique(row)) < len(row) for row in lists)


def _names(rankings: Rankings, rows: Ints) -> tuple[str, ...]:
    return tuple(rankings.queries[q] for q in rows.tolist())
