"""`vgeo score-places`: how often the right city, state, country and continent are named.

A command beside `score-trajectory`, not an option of it: the question is which place, not how far; the truth is a
table of labels, without any position; and the result is another table.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.errors import UsageError

EXAMPLE = "vgeo localize clips/ --gallery cities.h5 | vgeo score-places - --truth clips.csv"


class Format(StrEnum):
    """How scores are written; auto is a table on a terminal and JSON elsewhere."""

    auto = "auto"
    json = "json"
    table = "table"
    latex = "latex"


_SUFFIXES = {".tex": Format.latex, ".txt": Format.table}


def score_places(
    predictions: Annotated[
        str,
        typer.Argument(metavar="PREDICTIONS", help="GeoJSON or CSV of 'vgeo localize' among cities; - for stdin."),
    ],
    truth: Annotated[
        str,
        typer.Option(
            "--truth",
            help="Table with path or video_id, city, state, country, continent; or features.h5, frames.jsonl.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    confusion: Annotated[
        Path | None,
        typer.Option("--confusion", help="Also draw which cities are mistaken for which.",
                     rich_help_panel=options.OUTPUT),
    ] = None,
    hardest: Annotated[
        int, typer.Option("--hardest", min=1, help="Cities of that picture.", rich_help_panel=options.OUTPUT)
    ] = 24,
    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="auto: a table on a terminal, else JSON.", rich_help_panel=options.OUTPUT),
    ] = Format.auto,
    out: Annotated[
        str, typer.Option("--out", "-o", help="File to write; - is stdout.", rich_help_panel=options.OUTPUT)
    ] = "-",
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Compare the cities that clips are said to be in with the true ones.

    Prints the share of clips whose city, state, country and continent are named rightly (top-1), or
    are among the answer and four runners-up (top-5), each city's accuracy and what it is mistaken
    for. Names are compared without accents and letter case.
    """
    from vgeo.formats.place_labels import read_place_labels
    from vgeo.formats.place_predictions import read_votes
    from vgeo.formats.streams import check_output, is_stdio, write_output
    from vgeo.reports.confusion import plot_confusion
    from vgeo.reports.places import RENDERERS
    from vgeo.stages.score_places import score_places as score

    if is_stdio(predictions) and is_stdio(truth):
        raise UsageError("predictions and --truth cannot both be stdin; give one of them as a file")
    if confusion is not None and (is_stdio(confusion) or confusion.suffix.lower() not in (".png", ".pdf", ".svg")):
        raise UsageError(f"--confusion {confusion}: give a file name that ends in .png, .pdf or .svg")
    for target in (out, confusion):
        if target is not None:
            check_output(target, overwrite)
    report = score(read_votes(predictions), read_place_labels(truth))
    if confusion is not None:
        plot_confusion(report, confusion, hardest)
    if format is Format.auto:
        shown = is_stdio(out) and sys.stdout.isatty()
        format = Format.table if shown else _SUFFIXES.get(Path(out).suffix.lower(), Format.json)
    name = "vgeo" if is_stdio(predictions) else Path(predictions).stem
    write_output(out, RENDERERS[format.value](report, name))
