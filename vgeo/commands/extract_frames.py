"""`vgeo extract-frames`: videos to pictures, times and positions."""

from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.errors import UsageError
from vgeo.logs import progress_bar

EXAMPLE = "vgeo extract-frames clips/ --rate-hz 1 --size 480 --out frames/"


def extract_frames(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders of videos or pictures, lists (.txt, -); the data set's folder with --layout.",
            show_default="clips/",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to fill.", rich_help_panel=options.OUTPUT)] = Path(
        "frames"
    ),
    rate_hz: options.RateHz = None,
    every_s: options.EveryS = None,
    every_m: options.EveryM = None,
    count: options.Count = None,
    stride: options.Stride = None,
    clip_frames: Annotated[
        int | None,
        typer.Option(
            "--clip-frames",
            min=1,
            help="Cut long videos into clips of about so many frames, each with a folder; CityGuessr68k: 850.",
            rich_help_panel=options.SAMPLING,
        ),
    ] = None,
    frames_per_clip: Annotated[
        int | None,
        typer.Option(
            "--frames-per-clip",
            min=1,
            help="With --clip-frames: frames taken of each clip, evenly spaced.",
            show_default="100",
            rich_help_panel=options.SAMPLING,
        ),
    ] = None,
    start_s: options.StartS = 0.0,
    end_s: options.EndS = None,
    track: options.TrackFile = None,
    time_offset_s: options.TimeOffsetS = 0.0,
    max_gap_s: options.MaxGapS = 2.0,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", min=1, help="Pixels of the shorter side; as stored if not given.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    square: Annotated[
        bool,
        typer.Option("--square", help="Both sides --size pixels, aspect not kept.", rich_help_panel=options.OUTPUT),
    ] = False,
    quality: Annotated[
        int, typer.Option("--quality", min=1, max=100, help="JPEG quality.", rich_help_panel=options.OUTPUT)
    ] = 92,
    blur_faces: Annotated[
        bool,
        typer.Option(
            "--blur-faces",
            help="Blur the faces that are found (needs the extra 'faces'); some are missed: look before you publish.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
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
) -> None:
    """Write frames of videos as JPEGs, and one JSON line for each.

    Fills OUT with VIDEO/000123.jpg (the frame's number) and frames.jsonl: video_id, frame_index,
    time_s and, where known, timestamp_utc, lat_deg and lon_deg. Finished videos are not done again.
    Where --labels names cities, clips.csv lists the clips with them.

    With --clip-frames each long video becomes clips VIDEO_000, VIDEO_001, ..., with numbers and times
    from their own start and the label source, their video. Clips of one video are alike: to hold out
    whole videos, name the split of each video in --labels.

    With --layout no picture is written: frames.jsonl names the data set's own, with positions and labels.
    """
    recipe = options.recipe(layout, city, with_test, min_frames, split_gaps, apart_m, seed, labels if layout else None)
    if layout is not None:
        from vgeo.stages.layouts import list_frames

        options.refuse_with_layout(
            layout, rate_hz=rate_hz, every_s=every_s, every_m=every_m, count=count, stride=stride, start_s=start_s,
            end_s=end_s, track=track, time_offset_s=time_offset_s, max_gap_s=max_gap_s != 2.0, size=size,
            quality=quality != 92, decoder=decoder != "pyav", clip_frames=clip_frames, frames_per_clip=frames_per_clip,
            square=square, blur_faces=blur_faces, shard=shard,
        )  # fmt: skip
        with progress_bar() as progress:
            options.finish(
                list_frames(
                    inputs or [],
                    out,
                    layout,
                    recipe,
                    overwrite=overwrite,
                    report=report,
                    fail_fast=fail_fast,
                    progress=progress,
                )
            )
    from vgeo.stages.extract_frames import extract_frames as stage
    from vgeo.video.clips import TrackSource
    from vgeo.video.cutting import FRAMES_PER_CLIP, Cutting
    from vgeo.video.sampling import Sampling

    if clip_frames is None and frames_per_clip is not None:
        raise UsageError("--frames-per-clip: says what to take of each clip of a long video; give --clip-frames, too")
    cutting = None
    if clip_frames is not None:
        cutting = Cutting(clip_frames=clip_frames, frames_per_clip=frames_per_clip or FRAMES_PER_CLIP)
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
        outcomes = stage(
            inputs or ["clips"],
            out,
            sampling,
            cutting=cutting,
            labels=labels,
            size=size,
            square=square,
            blur_faces=blur_faces,
            quality=quality,
            decoder=decoder,
            source=TrackSource(file=track, time_offset_s=time_offset_s, max_gap_s=max_gap_s),
            overwrite=overwrite,
            report=report,
            fail_fast=fail_fast,
            shard=part,
            progress=progress,
        )
    options.finish(outcomes)
