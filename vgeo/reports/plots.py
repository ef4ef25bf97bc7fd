"""A picture of predicted and true tracks: one panel for each place, north up, with a scale bar.

Colours are those of Okabe & Ito, which remain apart for colour-blind readers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vgeo.errors import InputError
from vgeo.formats.streams import atomic_write
from vgeo.geo import sphere
from vgeo.geo.places import nearest_places
from vgeo.records import Localization, Track
from vgeo.reports.joining import clusters, middle, truth_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

TRUTH, PREDICTION, ERROR, REFERENCE = "#0072B2", "#D55E00", "#E69F00", "#C9CCD1"
PANELS_A_ROW = 4


def plot_tracks(
    localizations: Sequence[Localization],
    truth: Sequence[Track],
    path: str | Path,
    *,
    reference: Sequence[Track] = (),
    names: Mapping[str, str] | None = None,
    title: str = "",
    by_clip: bool = False,
) -> None:
    """Draw predictions, and the truth where it is known, into a PNG (or what the suffix says: pdf, svg).

    reference: tracks drawn in grey underneath, such as those that a model was trained on.
    names: a panel's name by the id of a clip in it; where there is none, that of the nearest city.
    by_clip: one panel for each clip, with its predictions joined in their order, rather than one for each place.
    Raises InputError when there is nothing to draw.
    """
    localizations = [said for said in localizations if len(said.track)]
    if not localizations:
        raise InputError(f"{path}: no predictions to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truths = [truth_at(said, truth) for said in localizations]
    middles = np.array([middle(said, known) for said, known in zip(localizations, truths, strict=True)])
    groups = [[n] for n in range(len(middles))] if by_clip else clusters(middles)
    columns = min(PANELS_A_ROW, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(3.9 * columns + 0.4, 4.3 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, group in zip(panels, groups, strict=False):
        members = [(localizations[n], truths[n]) for n in group]
        centre_deg = sphere.centroid(middles[group])
        name = (names or {}).get(localizations[group[0]].track.video_id) or _place(centre_deg)
        _draw_panel(panel, members, reference, centre_deg, name, joined=by_clip)
    for panel in panels[len(groups) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title or _headline(localizations, truths), fontweight="bold")
    suffix = Path(path).suffix.lstrip(".").lower() or "png"
    with atomic_write(path) as file:
        figure.savefig(file, format=suffix, dpi=130, facecolor="white")


def _headline(localizations: Sequence[Localization], truths: Sequence[Floats]) -> str:
    errors = np.concatenate([_errors_km(said, known) for said, known in zip(localizations, truths, strict=True)])
    clips = f"{len(localizations)} clip{'s' if len(localizations) > 1 else ''}"
    if not len(errors):
        return f"{clips}, {sum(len(said.track) for said in localizations)} frames"
    return f"{clips}, {len(errors)} frames: median error {distance_text(float(np.median(errors)))}"


def _errors_km(said: Localization, known: Floats) -> Floats:
    has = ~np.isnan(known[:, 0])
    return sphere.distance_km(said.track.latlon_deg[has], known[has])


def distance_text(km: float) -> str:
    """A distance for people: 43 m, 1.2 km, 8,642 km."""
    if km < 1:
        return f"{km * 1000:.0f} m"
    return f"{km:.1f} km" if km < 20 else f"{km:,.0f} km"


def _draw_panel(
    panel: "Axes",
    members: Sequence[tuple[Localization, Floats]],
    reference: Sequence[Track],
    centre_deg: Floats,
    name: str,
    joined: bool = False,
) -> None:
    """One place. Axes are metres east and north of the centre, so that shapes are true."""
    known = [_metres(truth[~np.isnan(truth[:, 0])], centre_deg) for _, truth in members]
    guesses = [_metres(said.track.latlon_deg, centre_deg) for said, _ in members]
    low, high = _frame(known, guesses)
    for track in reference:
        ground = _metres(track.latlon_deg, centre_deg)
        if len(ground) and (np.abs(ground) < 20 * (high - low).max()).all():
            panel.plot(*ground.T, color=REFERENCE, lw=4, solid_capstyle="round", zorder=1, label="training drives")
    for (said, truth), guess in zip(members, guesses, strict=True):
        inside = ((guess >= low) & (guess <= high)).all(axis=1)
        has = ~np.isnan(truth[:, 0])
        true = _metres(truth, centre_deg)
        for start, end in zip(true[has & inside], guess[has & inside], strict=True):
            panel.plot(*np.stack([start, end]).T, color=ERROR, lw=0.8, alpha=0.7, zorder=2, label="error")
        panel.plot(*true[has].T, color=TRUTH, lw=2.2, zorder=3, label="true track")
        if joined:
            panel.plot(*guess.T, color=PREDICTION, lw=0.9, zorder=3.5, label="predicted track")
        panel.scatter(
            guess[:, 0],
            guess[:, 1],
            s=6 + 22 * said.confidence,
            color=PREDICTION,
            lw=0,
            alpha=0.8,
            zorder=4,
            label="predicted frame",
        )
    panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
    outside = sum(int((~((guess >= low) & (guess <= high)).all(axis=1)).sum()) for guess in guesses)
    errors = np.concatenate([_errors_km(said, truth) for said, truth in members])
    text = f"median error {distance_text(float(np.median(errors)))}" if len(errors) else ""
    if outside:
        text += f"{', ' if text else ''}{outside} of {sum(map(len, guesses))} outside"
    panel.set_title(f"{name}\n{text}", fontsize=10)
    _scale_bar(panel, float(high[0] - low[0]))
    _keep_one_label_each(panel)


def _metres(latlon_deg: Floats, centre_deg: Floats) -> Floats:
    """East and north of the centre."""
    north = (latlon_deg[:, 0] - centre_deg[0]) * sphere.KM_PER_DEG * 1000
    east = sphere.wrap_lon(latlon_deg[:, 1] - centre_deg[1]) * sphere.KM_PER_DEG * 1000
    return np.stack([east * np.cos(np.radians(centre_deg[0])), north], axis=-1)


def _frame(known: Sequence[Floats], guesses: Sequence[Floats]) -> tuple[Floats, Floats]:
    """A square around the truth with a margin; without truth, around the middle 90 % of the predictions."""
    points = np.concatenate(known)
    if not len(points):
        points = np.concatenate(guesses)
        points = np.clip(points, *np.quantile(points, (0.05, 0.95), axis=0))
    low, high = points.min(axis=0), points.max(axis=0)
    half = max(float((high - low).max()) * 0.72, 80.0)
    centre = (low + high) / 2
    return centre - half, centre + half


def _place(centre_deg: Floats) -> str:
    name = nearest_places(centre_deg[None])[0]
    parts = name.split(", ")
    return f"{parts[0]}, {parts[-1]}" if len(parts) > 1 else name


def _scale_bar(panel: "Axes", width_m: float) -> None:
    length = nice_length(width_m / 3.5)
    (x0, x1), (y0, y1) = panel.get_xlim(), panel.get_ylim()
    x, y = x0 + 0.05 * (x1 - x0), y0 + 0.05 * (y1 - y0)
    panel.plot([x, x + length], [y, y], color="black", lw=2.5, solid_capstyle="butt", zorder=5)
    panel.text(
        x + length / 2, y + 0.015 * (y1 - y0), distance_text(length / 1000), ha="center", va="bottom", fontsize=8
    )


def nice_length(at_most: float) -> float:
    """The longest of 1, 2, 5 x 10^n that is no longer than `at_most`."""
    power = 10.0 ** np.floor(np.log10(at_most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= at_most))


def _keep_one_label_each(panel: "Axes") -> None:
    seen = set()
    for artist in (*panel.lines, *panel.collections):
        label = str(artist.get_label())
        if label in seen:
            artist.set_label("_again")
        seen.add(label)
