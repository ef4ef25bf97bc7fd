"""Scores of places as text: JSON for programs, a table for people, a row of VidTAG's Table 3 in LaTeX."""

import json
from collections.abc import Callable
from typing import Any

from vgeo.records import LEVELS, CityScore, PlaceLabels, PlaceReport
from vgeo.reports.tables import as_text, latex_row, printable

_SHOWN = 24  # cities of the table for people: the hardest, as many as VidTAG's figure 11 has


def places_json(report: PlaceReport, name: str = "") -> str:
    """One JSON object; accuracies are percent, cities are in the order of difficulty."""
    document: dict[str, Any] = {"matched_clips": report.clips}
    for score in report.levels:
        document[score.level] = {
            "count": score.clips, "top1_percent": score.top1_percent, "top5_percent": score.top5_percent
        }  # fmt: skip
    document["cities"] = [_city(city) for city in report.cities]
    document["unmatched_predicted_clips"] = list(report.unmatched_clips)
    document["unmatched_true_clips"] = list(report.unmatched_truth)
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _city(city: CityScore) -> dict[str, Any]:
    mistaken = [{**_names(place), "count": count} for place, count in city.mistaken_for]
    return {
        **_names(city.labels),
        "count": city.clips,
        "correct": city.correct,
        "top1_percent": 100 * city.correct / city.clips,
        "mistaken_for": mistaken,
    }


def _names(place: PlaceLabels) -> dict[str, str]:
    return {level: name for level, name in zip(LEVELS, place.from_level(0), strict=True) if name}


def city_name(place: PlaceLabels, with_state: bool = False) -> str:
    """A city for people, on one line: Portland, Oregon."""
    names = (place.city, place.state) if with_state and place.state != place.city else (place.city,)
    return printable(", ".join(name for name in names if name))


def places_table(report: PlaceReport, name: str = "") -> str:
    """Tables for a terminal."""
    levels = [[score.level, str(score.clips), _percent(score.top1_percent), _percent(score.top5_percent)]
              for score in report.levels]  # fmt: skip
    cities = [
        [
            city_name(city.labels, with_state=True),
            str(city.clips),
            _percent(100 * city.correct / city.clips),
            ", ".join(f"{city_name(place)} ({count})" for place, count in city.mistaken_for[:3]) or "-",
        ]
        for city in report.cities[:_SHOWN]
    ]
    rest = len(report.cities) - len(cities)
    title = "Cities, hardest first" + (f" ({rest} more in the JSON)" if rest else "")
    clips = [
        ["both", str(report.clips), ""],
        ["predicted only", str(len(report.unmatched_clips)), _some(report.unmatched_clips)],
        ["true only", str(len(report.unmatched_truth)), _some(report.unmatched_truth)],
    ]
    tables = [
        ("Places", ["level", "clips", "top-1", "top-5"], levels),
        (title, ["city", "clips", "top-1", "mistaken for"], cities),
        ("Clips", ["known to", "clips", "such as"], clips),
    ]
    return as_text(tables, words=("mistaken for", "such as"))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f} %"


def _some(names: tuple[str, ...]) -> str:
    return printable(", ".join(names[:5])) + (", ..." if len(names) > 5 else "")


def places_latex(report: PlaceReport, name: str = "") -> str:
    """A row for a table like VidTAG's Table 3: top-1 accuracy of city, state, country and continent."""
    found = {score.level: f"{score.top1_percent:.1f}" for score in report.levels}
    return latex_row(["name", *LEVELS], [name, *(found.get(level, "-") for level in LEVELS)])


RENDERERS: dict[str, Callable[[PlaceReport, str], str]] = {
    "json": places_json,
    "table": places_table,
    "latex": places_latex,
}
