"""`vgeo label-scenes`: what scenes each clip shows, as shares of its frames."""

from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.logs import progress_bar

EXAMPLE = "vgeo label-scenes frames/ --classifier resnet50_places365.pth.tar --groups scene_hierarchy_places365.csv"


def label_scenes(
    inputs: options.Inputs = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="Table to write (CSV); - is stdout.",
            show_default="scenes.csv, beside frames.jsonl where that is the input",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier",
            metavar="clip[:VARIANT]|PATH",
            help="CLIP by the groups' names (as encoders: clip, clip:ViT-B-32-quickgelu/openai), or the weights of a "
            "ResNet trained on Places365 (.pth.tar, .safetensors).",
            rich_help_panel=options.MODEL,
        ),
    ] = "clip",
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            help="With such a ResNet: the table of its 365 categories' groups, Places365's hierarchy (CSV).",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    majority: Annotated[
        bool,
        typer.Option(
            "--majority", help="Give all of a clip to its most frequent group.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    weights: options.Weights = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of clip, as in crop=squash; may be repeated.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    rate_hz: options.RateHz = None,
    every_s: options.EveryS = None,
    count: options.Count = None,
    stride: options.Stride = None,
    start_s: options.StartS = 0.0,
    end_s: options.EndS = None,
    layout: options.Layout = None,
    city: options.City = None,
    with_test: options.WithTest = False,
    min_frames: options.MinFrames = None,
    split_gaps: options.SplitGaps = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="cityguessr68k: the table or list of its videos, or a folder with them; else in its own folder.",
            rich_help_panel=options.LAYOUT,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    report: options.Report = None,
    fail_fast: options.FailFast = False,
    shard: options.ShardOf = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Frames labelled at a time.", rich_help_panel=options.RUN)
    ] = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
) -> None:
    """Say what scenes each clip shows, as shares of its frames over the 16 groups of Places365.

    The table is what 'vgeo train --method cityguessr' learns scenes from. CityGuessr labels frames by
    a Places365 network, whose weights and hierarchy are to be downloaded from its authors; without
    them, CLIP compares frames with a description of each group.
    """
    from vgeo.device import choose
    from vgeo.stages.encode import read_weights
    from vgeo.stages.label_scenes import label_scenes as stage
    from vgeo.stages.precompute_features import default_inputs
    from vgeo.video.sampling import Sampling

    sampling = Sampling(rate_hz=rate_hz, every_s=every_s, count=count, stride=stride, start_s=start_s, end_s=end_s)
    part = options.shard_of(shard)
    with progress_bar() as progress:
        outcomes = stage(
            inputs or ([] if layout else default_inputs()),
            out,
            classifier,
            groups=groups,
            majority=majority,
            weights=read_weights(weights or [], [classifier]),
            settings=settings or (),
            sampling=sampling,
            layout=layout,
            recipe=options.recipe(layout, city, with_test, min_frames, split_gaps, None, None, labels),
            batch_size=batch_size,
            workers=workers,
            compute=choose(device, precision),
            offline=offline,
            overwrite=overwrite,
            report=report,
            fail_fast=fail_fast,
            shard=part,
            progress=progress,
        )
    options.finish(outcomes)
