"""`vgeo build-gallery`: the candidate places that clips are searched among."""

import difflib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vgeo.commands import options
from vgeo.errors import UsageError

if TYPE_CHECKING:
    from vgeo.device import Compute
    from vgeo.encoders._text import TextEncoder
    from vgeo.stages.models import Model as LoadedModel

EXAMPLE = "vgeo build-gallery grid features.h5 --spacing-km 0.1 --out gallery.h5"
KINDS = ("grid", "points", "cities", "aerial")
GRID, POINTS, CITIES, AERIAL = "Grid", "Points", "Cities", "Aerial"


def complete_kinds(incomplete: str) -> list[str]:
    """Kinds of galleries, for the shell."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


SpacingKm = Annotated[
    float, typer.Option("--spacing-km", help="Distance between neighbouring points.", rich_help_panel=GRID)
]
MarginKm = Annotated[
    float, typer.Option("--margin-km", min=0, help="Padding around each region's positions.", rich_help_panel=GRID)
]
TrimPercent = Annotated[
    float,
    typer.Option(
        "--trim-percent",
        min=0,
        max=49,
        help="Share of positions left out at each edge, as outliers.",
        rich_help_panel=GRID,
    ),
]
RegionLabel = Annotated[
    str | None,
    typer.Option("--region-label", help="Regions by a label such as city, not by nearness.", rich_help_panel=GRID),
]
MinPoints = Annotated[
    int, typer.Option("--min-points", min=1, help="Leave out regions of fewer positions.", rich_help_panel=GRID)
]
Within = Annotated[
    Path | None,
    typer.Option("--within", help="Cut by GeoJSON polygons; without INPUTS, fill them.", rich_help_panel=GRID),
]
MaxPoints = Annotated[int, typer.Option("--max-points", min=1, help="Refuse a larger grid.", rich_help_panel=GRID)]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Positions of this label split, or all; else train where there are labels.",
        autocompletion=options.one_of("train", "val", "all"),
        rich_help_panel=options.INPUTS,
    ),
]
KeepFeatures = Annotated[
    bool, typer.Option("--keep-features", help="Carry the frames' features (method nearest).", rich_help_panel=POINTS)
]
Unique = Annotated[bool, typer.Option("--unique", help="Drop repeated positions.", rich_help_panel=POINTS)]
ThinM = Annotated[
    float | None,
    typer.Option("--thin-m", min=0, help="Drop positions nearer than this to another.", rich_help_panel=POINTS),
]
MinPopulation = Annotated[
    int, typer.Option("--min-population", min=0, help="Leave out smaller cities of GeoNames.", rich_help_panel=CITIES)
]
Country = Annotated[
    list[str] | None,
    typer.Option(
        "--country", help="Only of this country, by name or ISO code; may be repeated.", rich_help_panel=CITIES
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="ENCODER",
        help="Encode the names, to train on: clip (ViT-B/32), a hub id, a folder or a name of open_clip.",
        autocompletion=options.one_of("clip"),
        rich_help_panel=CITIES,
    ),
]
Around = Annotated[
    list[str] | None,
    typer.Option(
        "--around",
        metavar="INPUT",
        help="Crops centred on each second of these frames, features or tracks; may be repeated.",
        rich_help_panel=AERIAL,
    ),
]
Regions = Annotated[
    bool, typer.Option("--regions", help="Large squares of tiles, for the screening network.", rich_help_panel=AERIAL)
]
Zoom = Annotated[
    int | None,
    typer.Option("--zoom", min=0, max=24, help="Of the tiles, else their own or 19.", rich_help_panel=AERIAL),
]
Across = Annotated[int, typer.Option("--across", min=1, help="Tiles along a region's side.", rich_help_panel=AERIAL)]
Step = Annotated[
    int | None,
    typer.Option("--step", min=1, help="Tiles from one region to the next.", show_default="4, at most those across",
                 rich_help_panel=AERIAL),
]  # fmt: skip
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="The input is the folder of a data set with aerial pictures of its own: gama.",
        autocompletion=options.one_of("gama"),
        rich_help_panel=AERIAL,
    ),
]
Uncentred = Annotated[
    bool,
    typer.Option(
        "--uncentred", help="With --layout: tiles of the map, not those centred on places.", rich_help_panel=AERIAL
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="HDF5, CSV or GeoJSON by suffix; - is CSV.", rich_help_panel=options.OUTPUT)
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="h5, csv or geojson; else by the suffix of --out.",
        autocompletion=options.one_of("h5", "csv", "geojson"),
        rich_help_panel=options.OUTPUT,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Embed the places with this model now, once.", rich_help_panel=options.MODEL),
]


def build_gallery(
    ctx: typer.Context,
    kind: Annotated[
        str, typer.Argument(metavar="[grid|points|cities|aerial]", autocompletion=complete_kinds, help="What to build.")
    ] = "grid",
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUTS]...",
            help="Feature files, tracks, points or folders; for cities also tables; for aerial the tiles.",
        ),
    ] = None,
    spacing_km: SpacingKm = 0.1,
    margin_km: MarginKm = 1.0,
    trim_percent: TrimPercent = 0.0,
    region_label: RegionLabel = None,
    min_points: MinPoints = 1,
    within: Within = None,
    max_points: MaxPoints = 5_000_000,
    split: Split = None,
    keep_features: KeepFeatures = False,
    unique: Unique = False,
    thin_m: ThinM = None,
    min_population: MinPopulation = 15000,
    country: Country = None,
    text: Text = None,
    around: Around = None,
    regions: Regions = False,
    zoom: Zoom = None,
    across: Across = 7,
    step: Step = None,
    layout: Layout = None,
    uncentred: Uncentred = False,
    weights: options.Weights = None,
    out: Out = Path("gallery.h5"),
    format: Format = None,
    overwrite: options.Overwrite = False,
    model: Model = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
) -> None:
    """Build the gallery: the candidate places that clips are searched among.

    grid lays points over each region where the inputs have positions (VidTAG, appendix D.1); points
    takes the inputs' own positions; cities takes the cities that the inputs name (column or label
    'city', with state, country and continent to tell namesakes apart), or without inputs all cities,
    at their centres in GeoNames; aerial takes pictures from above, of a folder of tiles x_y.png or
    z/x/y.png, an MBTiles file or a georeferenced image (GAMa, section 3), or GAMa's own with --layout.
    """
    _check_words(ctx, kind, inputs or [])
    from vgeo import logs
    from vgeo.stages import build_gallery as stage
    from vgeo.stages.aerial_gallery import AerialRules
    from vgeo.stages.grid_gallery import GridRules

    compute, loaded, encoder = _load(model, text, weights or [], device, offline)
    with logs.progress_bar() as progress:
        gallery = stage.build_gallery(
            kind,
            inputs or [],
            out,
            rules=GridRules(
                spacing_km=spacing_km,
                margin_km=margin_km,
                trim_percent=trim_percent,
                region_label=region_label,
                min_points=min_points,
                max_points=max_points,
            ),
            within=within,
            split=split,
            keep_features=keep_features,
            unique=unique,
            thin_m=thin_m,
            min_population=min_population,
            countries=country or (),
            text=encoder,
            aerial=AerialRules(
                around=around or (),
                regions=regions,
                zoom=zoom,
                across=across,
                step=step,
                layout=layout,
                uncentred=uncentred,
            ),
            model=loaded,
            compute=compute,
            format=format,
            overwrite=overwrite,
            progress=progress,
        )
    logging.getLogger("vgeo").info("%s", stage.describe(gallery, out))


def _load(
    model: str | None, text: str | None, weights: list[str], device: str, offline: bool
) -> "tuple[Compute | None, LoadedModel | None, TextEncoder | None]":
    """What embeds places and names, where that is asked for."""
    if text is None and weights:
        raise UsageError("--weights are those of --text, which is not given")
    if text is None and model is None:
        return None, None, None
    from vgeo.device import announce, choose
    from vgeo.encoders._text import load_text
    from vgeo.stages.encode import read_weights
    from vgeo.stages.models import load_model

    compute = choose(device, "fp32")  # keys of neighbours differ by less than bf16 can tell
    loaded = None if model is None else load_model(model, compute=compute)
    encoder = None
    if text is not None:
        encoder = load_text(text, compute, weights=read_weights(weights, [text]).get(text), offline=offline)
    announce(compute)
    return compute, loaded, encoder


def _check_words(ctx: typer.Context, kind: str, inputs: list[str]) -> None:
    """Raise UsageError for an unknown kind, and for options of another kind, which would do nothing."""
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        if Path(kind).exists() or "." in kind:
            hint = f"name the kind first: 'vgeo build-gallery grid {' '.join([kind, *inputs])}'"
        else:
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
        raise UsageError(f"no kind of gallery {kind!r}; {hint}")
    split = ctx.get_parameter_source("split")
    if kind == "cities" and split and split.name == "COMMANDLINE":
        raise UsageError("--split belongs to grid, points and aerial, not to cities")
    for option in ctx.command.params:
        panel = getattr(option, "rich_help_panel", None)
        source = ctx.get_parameter_source(option.name or "")
        if (
            panel in (GRID, POINTS, CITIES, AERIAL)
            and panel.lower() != kind
            and source
            and source.name == "COMMANDLINE"
        ):
            raise UsageError(f"{option.opts[0]} belongs to {panel.lower()}, not to {kind}")
