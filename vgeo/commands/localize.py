"""`vgeo localize`: clips to tracks on the map."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from vgeo import encoders, methods
from vgeo.commands import options
from vgeo.errors import UsageError
from vgeo.logs import progress_bar

EXAMPLE = "vgeo localize clip.mp4 --out traj.geojson"


def localize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders, lists (.txt, -), frames.jsonl or feature files.",
            show_default="features.h5, else clips/",
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="File; or FOLDER/ for one file a clip.", rich_help_panel=options.OUTPUT),
    ] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="geojson, geojsonl, gpx, kml or csv; else by the suffix of --out.",
            autocompletion=options.one_of("geojson", "geojsonl", "gpx", "kml", "csv"),
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--map", help="Also draw all clips on one self-contained HTML page.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Model folder; else the newest in models/.", rich_help_panel=options.MODEL),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            autocompletion=options.complete_methods,
            help="geoclip as released, nearest (reference frames), or another's models/METHOD.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery",
            "-g",
            help="Candidate places; else the model's own, else gallery.h5.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    weights: options.Weights = None,
    settings: options.Settings = None,
    top_k: Annotated[
        int, typer.Option("--top-k", min=1, help="Candidate places a frame.", rich_help_panel=options.OUTPUT)
    ] = 5,
    places: Annotated[
        bool, typer.Option("--places/--no-places", help="Name the nearest city.", rich_help_panel=options.OUTPUT)
    ] = True,
    vote: Annotated[
        str | None,
        typer.Option(
            "--vote",
            help="How frames decide on the clip's city, where the gallery names cities: majority or centroid.",
            autocompletion=options.one_of("majority", "centroid"),
            show_default="majority",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    refine_km: Annotated[
        float | None,
        typer.Option(
            "--refine-km",
            help="Divide the gallery's best places until they lie so near; for models with level_radii_km.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    smooth: Annotated[
        str | None,
        typer.Option(
            "--smooth",
            help="Let the frames of a clip agree on a path: viterbi, through 50 candidates each.",
            autocompletion=options.one_of("viterbi"),
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    max_speed_kmh: Annotated[
        float | None,
        typer.Option(
            "--max-speed-kmh",
            help="With --smooth: how fast the camera may be.",
            show_default="120",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    per_window: Annotated[
        bool,
        typer.Option(
            "--per-window",
            help="With cityguessr: a place for each window of 16 frames, not one for the clip.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    screening: Annotated[
        str | None,
        typer.Option(
            "--screening",
            help="With gama: model of regions in which clips are searched for again, or none.",
            show_default="models/screening, if it is here",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            help="With --screening: how many of the best regions, or which share of them.",
            show_default="1%",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="Of feature files and folders of frames, only clips of this label split.",
            autocompletion=options.one_of("train", "val", "test"),
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    rate_hz: options.RateHz = None,
    every_s: options.EveryS = None,
    every_m: options.EveryM = None,
    count: options.Count = None,
    stride: options.Stride = None,
    start_s: options.StartS = 0.0,
    end_s: options.EndS = None,
    track: options.TrackFile = None,
    time_offset_s: options.TimeOffsetS = 0.0,
    max_gap_s: options.MaxGapS = 2.0,
    overwrite: options.Overwrite = False,
    report: options.Report = None,
    fail_fast: options.FailFast = False,
    shard: options.ShardOf = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    decoder: options.Decoder = "pyav",
    ray: options.Ray = None,
) -> None:
    """Say where clips were filmed: for each frame a position, its confidence and the runners-up.

    Writes one track a clip as GeoJSON (to stdout unless --out is given), GPX, KML or CSV. Without
    --model it takes the newest model trained here, else GeoCLIP as released and its own gallery.
    """
    if model and method:
        raise UsageError("--model is a trained model, --method one without: give one of them")
    if method:
        methods.get(method)  # a wrong name is answered before any work
    if max_speed_kmh is not None and smooth is None:
        raise UsageError("--max-speed-kmh: goes with --smooth viterbi")
    given, part = _by_owner(weights or []), options.shard_of(shard)
    from vgeo.stages.localize_files import check_out, write_batch

    check_out(out, format, overwrite, report, page)
    from vgeo.stages.cluster import Where
    from vgeo.stages.localize import Prepared, prepare
    from vgeo.stages.localize_cluster import ClusterPrepared
    from vgeo.stages.localize_inputs import find_tasks
    from vgeo.stages.smoothing import MAX_SPEED_KMH, Smoothing
    from vgeo.video.clips import TrackSource
    from vgeo.video.sampling import Sampling

    sampling = Sampling(
        rate_hz=rate_hz, every_s=every_s, every_m=every_m, count=count, stride=stride, start_s=start_s, end_s=end_s
    )
    smoothing = None
    if smooth is not None:
        smoothing = Smoothing(smoother=smooth, max_speed_kmh=MAX_SPEED_KMH if max_speed_kmh is None else max_speed_kmh)
    source = TrackSource(file=track, time_offset_s=time_offset_s, max_gap_s=max_gap_s)
    with ExitStack() as stack, progress_bar() as progress:
        tasks = find_tasks(inputs or (), split)
        asked: dict[str, Any] = dict(
            model=model or method,
            gallery=gallery,
            top_k=top_k,
            places=places,
            vote=vote,
            refine_km=refine_km,
            per_window=per_window,
            screening=screening,
            keep=keep,
            smoothing=smoothing,
            sampling=sampling,
            source=source,
            decoder=decoder,
            settings=settings or (),
            weights=given,
            offline=offline,
        )
        prepared: Prepared | ClusterPrepared
        if ray is None:
            prepared = prepare(tasks, **asked, device=device, precision=precision, progress=progress)
        else:
            prepared = stack.enter_context(ClusterPrepared(Where(ray, device, precision), tasks, asked))
        outcomes = write_batch(
            prepared,
            out,
            format=format,
            overwrite=overwrite,
            report=report,
            page=page,
            fail_fast=fail_fast,
            shard=part,
            progress=progress,
        )
    options.finish(outcomes)


def _by_owner(words: list[str]) -> dict[str, str]:
    """Read `PATH`, `ENCODER=PATH` and `METHOD=PATH`; a bare path belongs to the only encoder, and is named ""."""
    found = {}
    for word in words:
        owner, equals, path = word.partition("=")
        known = equals and owner.partition(":")[0] in (*encoders.names(), *methods.names())
        owner, path = (owner, path) if known else ("", word)
        if owner in found:
            raise UsageError(f"--weights {word}: weights of the same name were given before; leave one of them out")
        found[owner] = path
    return found
