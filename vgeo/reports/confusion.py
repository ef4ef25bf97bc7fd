"""A picture of which cities are mistaken for which: the hardest ones against each other (VidTAG, figure 11)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vgeo.formats.streams import atomic_write
from vgeo.records import PlaceReport
from vgeo.reports.places import city_name

HARDEST = 24  # VidTAG's figure 11


def confusion_counts(report: PlaceReport, hardest: int = HARDEST) -> NDArray[np.int64]:
    """Clips of each of the N hardest cities (rows) that are said to be in each of them, or elsewhere: [N, N + 1]."""
    cities = report.cities[:hardest]
    column = {city.labels: n for n, city in enumerate(cities)}
    counts = np.zeros((len(cities), len(cities) + 1), np.int64)
    for row, city in enumerate(cities):
        counts[row, row] = city.correct
        for place, times in city.mistaken_for:
            counts[row, column.get(place, len(cities))] += times
    return counts


def plot_confusion(report: PlaceReport, path: str | Path, hardest: int = HARDEST) -> None:
    """Draw the matrix into a PNG (or what the suffix says: pdf, svg), each row as shares of a city's clips."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = confusion_counts(report, hardest)
    shares = counts / counts.sum(axis=1, keepdims=True)
    n = len(counts)
    same = [city.labels.city for city in report.cities[:n]]
    names = [_short(city_name(city.labels, with_state=same.count(city.labels.city) > 1)) for city in report.cities[:n]]
    side = 2.6 + 0.34 * n
    figure = Figure(figsize=(max(5.2, side + 1.1), max(4.2, side)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.55
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7,
                  color="white" if dark else "black")  # fmt: skip
    axes.axvline(n - 0.5, color="black", lw=0.8)
    axes.set_xticks(range(n + 1), [*names, "elsewhere"], rotation=90, fontsize=8)
    axes.set_yticks(range(n), [f"{name} ({total})" for name, total in zip(names, counts.sum(axis=1), strict=True)],
                    fontsize=8)  # fmt: skip
    axes.set(xlabel="said to be", ylabel="true city (clips)")
    of = f"the {n} hardest of {len(report.cities)} cities" if n < len(report.cities) else f"all {n} cities"
    axes.set_title(f"Clips by true and predicted city: {of}", fontsize=10)
    figure.colorbar(image, ax=axes, label="share of the city's clips", shrink=0.7)
    with atomic_write(path) as file:
        figure.savefig(file, format=Path(path).suffix.lstrip(".").lower() or "png", dpi=130, facecolor="white")


def _short(name: str) -> str:
    """A name that leaves room for the picture; a dollar sign would begin a formula."""
    return (name if len(name) <= 30 else f"{name[:29]}…").replace("$", r"\$")
