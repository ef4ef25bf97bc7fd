"""`vgeo score-trajectory`: how good are predicted tracks."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.errors import UsageError

EXAMPLE = "vgeo localize clips/ | vgeo score-trajectory - --truth tracks/"


class Format(StrEnum):
    """How scores are written; auto is a table on a terminal and JSON elsewhere."""

    auto = "auto"
    json = "json"
    table = "table"
    md = "md"
    latex = "latex"
    csv = "csv"


class Match(StrEnum):
    """How a predicted frame finds its truth; auto takes the first that both know."""

    auto = "auto"
    clock = "clock"
    time = "time"
    frame = "frame"
    order = "order"


_SUFFIXES = {".md": Format.md, ".tex": Format.latex, ".csv": Format.csv, ".txt": Format.table}


def score_trajectory(
    predictions: Annotated[
        str,
        typer.Argument(
            metavar="PREDICTIONS", help="Tracks in GeoJSON, GPX, KML or CSV; a folder of them; - for stdin."
        ),
    ],
    truth: Annotated[
        str,
        typer.Option(
            "--truth",
            help="True tracks: the same formats, DJI SRT, frames.jsonl, features.h5 or a folder.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    within_km: Annotated[
        list[float] | None,
        typer.Option(
            "--within-km",
            help="Accuracy threshold; may be repeated. 0.5, 1, 5 and 25 if not given.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    match: Annotated[
        Match,
        typer.Option(
            "--match",
            help="Match frames by clock, time from the start, frame number or order; auto takes the first known.",
            rich_help_panel=options.INPUTS,
        ),
    ] = Match.auto,
    max_gap_s: options.MaxGapS = 2.0,
    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="auto: a table on a terminal, else JSON.", rich_help_panel=options.OUTPUT),
    ] = Format.auto,
    per_clip: Annotated[
        bool, typer.Option("--per-clip", help="Add the scores of each clip.", rich_help_panel=options.OUTPUT)
    ] = False,
    out: Annotated[
        str, typer.Option("--out", "-o", help="File to write; - is stdout.", rich_help_panel=options.OUTPUT)
    ] = "-",
    overwrite: options.Overwrite = False,
) -> None:
    """Compare predicted tracks with true ones.

    Prints the share of frames and videos within each distance, median, mean and 95th percentile of
    the errors, and the discrete Fréchet distance and mean range difference in degrees and km. Clips
    are joined by id, frames by time; what has no counterpart is counted.
    """
    from vgeo.formats.streams import check_output, is_stdio, write_output
    from vgeo.formats.tracks import read_tracks
    from vgeo.metrics import WITHIN_KM
    from vgeo.reports.tables import RENDERERS
    from vgeo.stages.score_trajectory import score

    if is_stdio(predictions) and is_stdio(truth):
        raise UsageError("predictions and --truth cannot both be stdin; give one of them as a file")
    check_output(out, overwrite)
    report = score(
        read_tracks(predictions),
        read_tracks(truth),
        within_km or WITHIN_KM,
        match=match.value,
        max_gap_s=max_gap_s,
    )
    if format is Format.auto:
        shown = is_stdio(out) and sys.stdout.isatty()
        format = Format.table if shown else _SUFFIXES.get(Path(out).suffix.lower(), Format.json)
    name = "vgeo" if is_stdio(predictions) else Path(predictions).stem
    write_output(out, RENDERERS[format.value](report, name, per_clip))
