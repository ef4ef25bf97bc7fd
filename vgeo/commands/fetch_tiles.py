"""`vgeo fetch-tiles`: download the aerial tiles under given places."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options

EXAMPLE = (
    "VGEO_TILES_KEY=... vgeo fetch-tiles 'https://tiles.example/{z}/{x}/{y}.jpg?key={key}' frames/ "
    "--attribution '(c) Example Imagery'"
)

AREA = "Area"
SERVER = "Server"


def fetch_tiles(
    ctx: typer.Context,
    template: Annotated[
        str,
        typer.Argument(
            metavar="URL_TEMPLATE",
            help="With {z}, {x}, {y}; {-y} counts from the south, {q} is a quadkey, {s} a subdomain, {key} your key.",
            show_default=False,
        ),
    ],
    areas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[AREA]...",
            help="Tracks, folders of frames, feature files, galleries, GeoJSON polygons.",
            show_default="frames/ without --bbox",
        ),
    ] = None,
    attribution: Annotated[
        str,
        typer.Option("--attribution", help="Whose imagery it is; kept in tiles.json.", show_default=False),
    ] = ...,  # type: ignore[assignment]  # required
    bbox: Annotated[
        str | None,
        typer.Option("--bbox", metavar="W,S,E,N", help="Also this box, in degrees.", rich_help_panel=AREA),
    ] = None,
    zoom: Annotated[int, typer.Option("--zoom", min=0, max=24, help="19 is GAMa's.", rich_help_panel=AREA)] = 19,
    across: Annotated[
        int,
        typer.Option(
            "--across",
            min=0,
            help="Side, in tiles, of what is cut around a position: 1 for crops, 7 for regions, 0 for its tile alone.",
            rich_help_panel=AREA,
        ),
    ] = 1,
    margin_m: Annotated[
        float, typer.Option("--margin-m", min=0.0, help="Metres more on each side.", rich_help_panel=AREA)
    ] = 0.0,
    size_px: Annotated[
        int, typer.Option("--size-px", min=1, max=4096, help="Side of the server's tiles.", rich_help_panel=AREA)
    ] = 256,
    max_tiles: Annotated[
        int, typer.Option("--max-tiles", min=1, help="Refuse to fetch more.", rich_help_panel=AREA)
    ] = 10_000,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="VGEO_TILES_KEY", help="For {key}; is written nowhere.", rich_help_panel=SERVER),
    ] = None,
    subdomains: Annotated[
        str | None, typer.Option("--subdomains", metavar="A,B,...", help="For {s}.", rich_help_panel=SERVER)
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option(
            "--contact", help="How the server's people reach you, for the User-Agent.", rich_help_panel=SERVER
        ),
    ] = None,
    rate_hz: Annotated[
        float, typer.Option("--rate-hz", help="Requests a second at most.", rich_help_panel=SERVER)
    ] = 2.0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=16, help="Connections at a time.", rich_help_panel=SERVER)
    ] = 1,
    retries: Annotated[
        int, typer.Option("--retries", min=0, max=20, help="Of a tile, with growing pauses.", rich_help_panel=SERVER)
    ] = 4,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", help="Of a request, to its last byte.", rich_help_panel=SERVER)
    ] = 30.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Follow redirects to other hosts.", rich_help_panel=SERVER)
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder: z/x/y.jpg and tiles.json.", rich_help_panel=options.OUTPUT)
    ] = Path("tiles"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count, as JSON on stdout.", rich_help_panel=options.OUTPUT)
    ] = False,
    report: options.Report = None,
) -> None:
    """Download the aerial tiles under given places, from a server that you are licensed to use so.

    Asks slowly, waits when the server says so, and asks for nothing twice: run it again to go on. An
    answer that is not a whole picture of the right size is not stored. No other command fetches tiles.
    """
    from vgeo.formats.streams import dump_json
    from vgeo.formats.tile_template import TileTemplate
    from vgeo.logs import progress_bar
    from vgeo.stages import fetch_tiles as stage
    from vgeo.stages.tile_areas import read_box
    from vgeo.stages.tile_server import Manners

    names = tuple(name for name in (subdomains or "").split(",") if name)
    manners = Manners(
        rate_hz=rate_hz, workers=workers, retries=retries, timeout_s=timeout_s, follow=follow, contact=contact
    )
    if "{key}" not in template and getattr(ctx.get_parameter_source("key"), "name", "") == "ENVIRONMENT":
        key = None  # is for other servers
    plan = stage.plan_tiles(
        TileTemplate(template, key, names),
        areas or ([] if bbox else ["frames"]),
        out,
        attribution,
        zoom=zoom,
        bbox=read_box(bbox) if bbox else None,
        across=across,
        margin_m=margin_m,
        size_px=size_px,
        max_tiles=max_tiles,
    )
    seconds = len(plan.missing) / rate_hz
    logging.getLogger("vgeo").info(
        "%d tiles at zoom %d, %d of them to be fetched, about %.0f s and %.1f MB",
        len(plan.tiles), zoom, len(plan.missing), seconds, len(plan.missing) * stage.TYPICAL_BYTES / 1e6,
    )  # fmt: skip
    if dry_run:
        counts = {"tiles": len(plan.tiles), "to_fetch": len(plan.missing), "seconds": round(seconds, 1)}
        counts["bytes"] = len(plan.missing) * stage.TYPICAL_BYTES
        typer.echo(dump_json(counts), nl=False)
        return
    with progress_bar() as progress:
        outcomes = stage.fetch_tiles(plan, manners, report=report, progress=progress)
    options.finish(outcomes)
