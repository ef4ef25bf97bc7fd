"""`vgeo merge`: the outputs of shards joined into what an undivided run writes."""

from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.logs import progress_bar

EXAMPLE = "vgeo merge features-*.h5 --out features.h5"


def merge(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Feature files, tracks, tables of scenes, reports, or folders of frames; all of one kind."),
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="File, or folder of frames; - is stdout.", rich_help_panel=options.OUTPUT),
    ] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="Of the inputs: geojson, geojsonl, gpx, kml, csv or report; else by their suffix.",
            autocompletion=options.one_of("geojson", "geojsonl", "gpx", "kml", "csv", "report"),
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    incomplete: Annotated[
        bool,
        typer.Option("--incomplete", help="Join shards although some are missing.", rich_help_panel=options.INPUTS),
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Join what runs with --shard wrote: the very bytes that one undivided run would have written.

    The order of inputs does not matter. Files that were made with other settings, and a clip that two
    files say different things of, are refused. Scores are not merged: merge the tracks, and score them.
    """
    import logging

    from vgeo.stages.merge import merge as stage

    with progress_bar() as progress:
        found = stage(inputs, out, format=format, overwrite=overwrite, incomplete=incomplete, progress=progress)
    again = f", {found.twice} of them in two files" if found.twice else ""
    logging.getLogger("vgeo").info("%s: %d clips of %d files%s", out, found.pieces, found.files, again)
