"""`vgeo score-rankings`: how often the right tile, or region, is among the first that are named.

A command beside the other two that score: what is judged is an order of ids, whose truth is a tile's id as much as a
place, and the result is GAMa's tables.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.errors import UsageError

EXAMPLE = "vgeo score-rankings clips.json --truth frames/ --gallery tiles.h5"


class Format(StrEnum):
    """How scores are written; auto is a table on a terminal and JSON elsewhere."""

    auto = "auto"
    json = "json"
    table = "table"
    latex = "latex"


class Rule(StrEnum):
    """What counts as right."""

    cn = "cn"
    ucn = "ucn"
    regions = "regions"


_SUFFIXES = {".tex": Format.latex, ".txt": Format.table}


def score_rankings(
    rankings: Annotated[
        str, typer.Argument(metavar="RANKINGS", help="JSON of {clip or video: [ids, best first]}, .gz; - for stdin.")
    ],
    truth: Annotated[
        list[str],
        typer.Option(
            "--truth",
            help="Tracks or frames with positions; a table of clip, tile, lat, lon; GAMa's list. May be repeated.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    rule: Annotated[
        Rule,
        typer.Option(
            "--rule",
            help="cn: the clip's own tile or one within 0.05 miles; ucn: the tile it is in; regions: of videos.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = Rule.cn,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="What was ranked: how many, and where they are.", rich_help_panel=options.INPUTS
        ),
    ] = None,
    gallery_size: Annotated[
        int | None,
        typer.Option(
            "--gallery-size", min=1, help="How many were ranked, for R@1%, without --gallery.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            help="Recall at so many, or such a share; may be repeated. 1, 5, 10, 1% and 10% if not given.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    within_miles: Annotated[
        list[float] | None,
        typer.Option(
            "--within-miles",
            help="First places so near; may be repeated. 0.1, 0.2, 0.5 and 1 if not given.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    max_gap_s: options.MaxGapS = 2.0,
    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="auto: a table on a terminal, else JSON.", rich_help_panel=options.OUTPUT),
    ] = Format.auto,
    out: Annotated[
        str, typer.Option("--out", "-o", help="File to write; - is stdout.", rich_help_panel=options.OUTPUT)
    ] = "-",
    overwrite: options.Overwrite = False,
) -> None:  # fmt: skip
    """Score rankings of tiles for clips, or of regions for videos.

    Prints the share of queries whose truth is among the first 1, 5, 10, 1 % and 10 %, first places
    within miles, and their mean and median error. Takes what 'vgeo rank' writes and files that were
    published. Clips are called VIDEO_SECOND.
    """
    from vgeo.formats.rankings import read_rankings
    from vgeo.formats.streams import check_output, is_stdio, write_output
    from vgeo.metrics import WITHIN_MI
    from vgeo.reports.rankings import RENDERERS
    from vgeo.stages.ranking_truth import read_ranked, read_truth
    from vgeo.stages.score_rankings import AT
    from vgeo.stages.score_rankings import score_rankings as score

    if sum(map(is_stdio, (rankings, *truth))) > 1:
        raise UsageError("rankings and --truth cannot both be stdin; give one of them as a file")
    if gallery is not None and gallery_size is not None:
        raise UsageError("--gallery says how many were ranked: leave --gallery-size out")
    check_output(out, overwrite)
    report = score(
        read_rankings(rankings),
        read_truth(truth),
        rule=rule.value,
        ranked=None if gallery is None else read_ranked(gallery),
        size=gallery_size,
        at=at or AT,
        within_mi=within_miles or WITHIN_MI,
        max_gap_s=max_gap_s,
    )
    if format is Format.auto:
        shown = is_stdio(out) and sys.stdout.isatty()
        format = Format.table if shown else _SUFFIXES.get(Path(out).suffix.lower(), Format.json)
    name = "vgeo" if is_stdio(rankings) else Path(rankings.removesuffix(".gz")).stem
    write_output(out, RENDERERS[format.value](report, name))
