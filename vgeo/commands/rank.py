"""`vgeo rank`: the steps of the search among tiles, each with a file that can be looked at.

`vgeo localize` does all of it at once and answers with tracks; this one answers with ids, which is what is published,
scored, and what a screening network learns from.
"""

from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.errors import UsageError
from vgeo.logs import progress_bar

EXAMPLE = "vgeo rank frames --model models/gama --out clips.json"


def rank(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders of frames, feature files; or rankings of their tiles (.json).",
            show_default="features.h5, else clips/",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Of gama, for clips; of screening, for rankings of tiles.",
            show_default="models/gama, or models/screening",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="What to rank: tiles, or regions; else the model's own.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    tiles: Annotated[
        Path | None,
        typer.Option(
            "--tiles", help="Of rankings: the gallery that they rank.", show_default="models/gama/gallery.h5",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    within: Annotated[
        Path | None,
        typer.Option("--within", help="Rank only tiles of the regions that come first here for a video (.json).",
                     rich_help_panel=options.INPUTS),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            "--regions", help="With --within: the gallery of these regions.",
            show_default="models/screening/gallery.h5", rich_help_panel=options.INPUTS,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", help="With --within: how many regions, or which share of them.", show_default="1%",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    top: Annotated[
        str, typer.Option("--top", help="How many are named, or which share of all.", rich_help_panel=options.OUTPUT)
    ] = "100",
    split: Annotated[
        str | None,
        typer.Option("--split", help="Of feature files and folders of frames, only clips of this label split.",
                     rich_help_panel=options.INPUTS),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", help="JSON of {id: [ids, best first]}, or .json.gz; - is stdout.",
                          rich_help_panel=options.OUTPUT)
    ] = "-",
    overwrite: options.Overwrite = False,
    settings: options.Settings = None,
    report: options.Report = None,
    fail_fast: options.FailFast = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    decoder: options.Decoder = "pyav",
) -> None:  # fmt: skip
    """Rank tiles for clips, regions for videos, and tiles of the best regions for clips.

    Of videos and frames, each whole second (VIDEO_SECOND) ranks the gallery's tiles. Of such
    rankings, each video ranks regions, by its clips' best tiles. With --within, clips rank the tiles
    of their video's best regions. 'vgeo score-rankings' scores all three.
    """
    from vgeo.formats.streams import check_output, is_stdio

    of_rankings = [name for name in inputs or () if name.endswith((".json", ".json.gz"))]
    if of_rankings and len(inputs or ()) > 1:
        raise UsageError(f"{of_rankings[0]}: rankings are ranked for alone; leave the other inputs out")
    alone = {"--regions": regions, "--keep": keep} if within is None else {}
    alone |= {"--within": within, "--split": split, "--report": report} if of_rankings else {"--tiles": tiles}
    for option, value in alone.items():
        if value is not None:
            kind = "rankings" if of_rankings else "clips" if option == "--tiles" else "clips without --within"
            raise UsageError(f"{option}: does nothing with {kind}; leave it out")
    if report is not None and is_stdio(report) and is_stdio(out):
        raise UsageError("--report -: stdout takes the rankings already; give a file, for them (--out) or the report")
    check_output(out, overwrite)
    from vgeo.formats.gallery import read_gallery
    from vgeo.formats.rankings import read_rankings, write_rankings
    from vgeo.stages.batch import Batch
    from vgeo.stages.rank import rank_clips, rank_regions, read_tiles, read_within

    with progress_bar() as progress, Batch(report, fail_fast) as batch:
        if of_rankings:
            found = rank_regions(
                read_rankings(of_rankings[0]), model or "models/screening", read_tiles(tiles),
                None if gallery is None else read_gallery(gallery), top=top, settings=settings or (), device=device,
                precision=precision, progress=progress,
            )  # fmt: skip
        else:
            found = rank_clips(
                inputs or (), model or "models/gama", gallery, top=top,
                within=None if within is None else read_within(read_rankings(within), regions, keep), split=split,
                settings=settings or (), device=device, precision=precision, decoder=decoder, batch=batch,
                progress=progress,
            )  # fmt: skip
    write_rankings(out, found)
    options.finish(batch.outcomes)
