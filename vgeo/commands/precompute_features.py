"""`vgeo precompute-features`: frames or videos through frozen encoders into one feature file."""

from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.logs import progress_bar

EXAMPLE = "vgeo precompute-features frames/ -e clip -e dinov2 --out features.h5"


def precompute_features(
    inputs: options.Inputs = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Feature file to fill (HDF5).", rich_help_panel=options.OUTPUT)
    ] = Path("features.h5"),
    encoder: options.Encoders = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="Instead of encoders: a trained model that sees clips itself (gama).",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    weights: options.Weights = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[NAME.]KEY=VALUE",
            help="Change a setting of the encoders, or of one, as in crop=squash or dinov2.size=518; may be repeated.",
            rich_help_panel=options.MODEL,
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
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Table with path or video_id, and city, state, country, continent, split; or a list of cityguessr68k.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    layout: options.Layout = None,
    city: options.City = None,
    with_test: options.WithTest = False,
    min_frames: options.MinFrames = None,
    split_gaps: options.SplitGaps = False,
    apart_m: options.ApartM = None,
    seed: options.SplitSeed = None,
    overwrite: options.Overwrite = False,
    report: options.Report = None,
    fail_fast: options.FailFast = False,
    shard: options.ShardOf = None,
    decoder: options.Decoder = "pyav",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Frames encoded at a time.", rich_help_panel=options.RUN)
    ] = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    ray: options.Ray = None,
) -> None:
    """Describe frames by frozen encoders, once, into one feature file.

    Reads what extract-frames wrote, or videos directly, without pictures between. Times, positions
    and labels are carried along. Finished videos are not done again. Without --encoder it is gist,
    which needs no weights; the others take theirs from --weights, a cache or the Hugging Face hub.

    With --layout a data set's own pictures are read, in sequences, with positions and labels.
    """
    from vgeo.device import choose
    from vgeo.stages import precompute_features as stage
    from vgeo.stages.cluster import Where
    from vgeo.stages.encode import read_weights
    from vgeo.stages.eyes import DEFAULT_ENCODER
    from vgeo.video.clips import TrackSource
    from vgeo.video.sampling import Sampling

    recipe = options.recipe(layout, city, with_test, min_frames, split_gaps, apart_m, seed)
    options.refuse_with_layout(
        layout, track=track, time_offset_s=time_offset_s, max_gap_s=max_gap_s != 2.0, decoder=decoder != "pyav"
    )
    names = encoder or [DEFAULT_ENCODER]
    sampling = Sampling(
        rate_hz=rate_hz,
        every_s=every_s,
        every_m=every_m,
        count=count,
        stride=stride,
        start_s=start_s,
        end_s=end_s,
    )
    part = options.shard_of(shard)
    with progress_bar() as progress:
        outcomes = stage.precompute_features(
            inputs or ([] if layout else stage.default_inputs()),
            out,
            encoder or (),
            model=model,
            weights=read_weights(weights or [], names),
            settings=settings or (),
            sampling=sampling,
            source=TrackSource(file=track, time_offset_s=time_offset_s, max_gap_s=max_gap_s),
            layout=layout,
            recipe=recipe,
            labels=labels,
            decoder=decoder,
            batch_size=batch_size,
            workers=workers,
            compute=choose(device, precision) if ray is None else None,
            cluster=None if ray is None else Where(ray, device, precision),
            offline=offline,
            overwrite=overwrite,
            report=report,
            fail_fast=fail_fast,
            shard=part,
            progress=progress,
        )
    options.finish(outcomes)
