"""Scores of rankings as text: JSON for programs, a table for people, a row of GAMa's Table 6 in LaTeX."""

import json
from collections.abc import Callable
from typing import Any

from vgeo.metrics import KM_PER_MILE
from vgeo.records import RankingReport
from vgeo.reports.tables import as_text, latex_row, printable

_SUCH_AS = 5  # names of a group that are shown


def rankings_json(report: RankingReport, name: str = "") -> str:
    """One JSON object; recalls and shares are percent, null where they cannot be told."""
    mean, median = report.mean_error_mi, report.median_error_mi
    document: dict[str, Any] = {
        "rule": report.rule,
        "queries": report.queries,
        "gallery": report.gallery,
        "longest_ranking": report.longest,
        "tolerance_mi": report.tolerance_mi,
        **{f"recall_at_{recall.asked}": recall.percent for recall in report.recalls},
        **{f"recall_at_{recall.asked}_k": recall.k for recall in report.recalls if recall.asked.endswith("%")},
        **{f"top1_within_{limit:g}_mi": share
           for limit, share in zip(report.within_mi, report.within_percent, strict=True)},
        "top1_mean_error_mi": mean,
        "top1_median_error_mi": median,
        "top1_mean_error_km": None if mean is None else mean * KM_PER_MILE,
        "top1_median_error_km": None if median is None else median * KM_PER_MILE,
        "top1_measured": report.measured,
        "rankings_with_an_id_twice": report.repeating,
        "ids_without_position": report.unplaced_ids,
    }  # fmt: skip
    for key, names in _groups(report).items():
        document[key] = len(names)
        document[f"{key}_such_as"] = list(names[:_SUCH_AS])
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _groups(report: RankingReport) -> dict[str, tuple[str, ...]]:
    return {
        "queries_without_position": report.without_position,
        "queries_unanswered": report.unanswered,
        "unmatched_queries": report.unmatched_queries,
        "unmatched_truth": report.unmatched_truth,
    }


def rankings_table(report: RankingReport, name: str = "") -> str:
    """Tables for a terminal."""
    head = ["rule", "queries", "gallery", *(f"R@{recall.asked}" for recall in report.recalls)]
    row = [report.rule, str(report.queries), "-" if report.gallery is None else str(report.gallery)]
    limits = [f"top-1@{limit:g} mi" for limit in report.within_mi]
    errors = [_plain(report.mean_error_mi), _plain(report.median_error_mi), str(report.measured)]
    groups = [
        [key.replace("_", " "), str(len(names)), printable(", ".join(names[:_SUCH_AS])) or "-"]
        for key, names in _groups(report).items()
    ]
    groups.append(["rankings with an id twice", str(report.repeating), "-"])
    tables = [
        ("Recall", head, [[*row, *(_percent(recall.percent) for recall in report.recalls)]]),
        (
            "First places",
            [*limits, "mean mi", "median mi", "measured"],
            [[*map(_percent, report.within_percent), *errors]],
        ),
        ("Queries", ["", "count", "such as"], groups),
    ]
    return as_text(tables, words=("such as",))


def rankings_latex(report: RankingReport, name: str = "") -> str:
    """A row for a table like GAMa's Table 6: recalls, then first places within miles."""
    head = [*(f"R@{recall.asked}" for recall in report.recalls), *(f"Top-1@{limit:g}" for limit in report.within_mi)]
    shares = [*(recall.percent for recall in report.recalls), *report.within_percent]
    return latex_row(["name", *head], [name, *("-" if share is None else f"{share:.1f}" for share in shares)])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f} %"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


RENDERERS: dict[str, Callable[[RankingReport, str], str]] = {
    "json": rankings_json,
    "table": rankings_table,
    "latex": rankings_latex,
}
