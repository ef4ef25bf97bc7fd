"""`vgeo train`: a method learns places from features whose positions are known."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options

EXAMPLE = "vgeo train features.h5 --method geoclip --epochs 100 --out models/geoclip"

TRAINING = "Training"

Method = Annotated[
    str | None,
    typer.Option("--method", "-m", autocompletion=options.complete_methods, rich_help_panel=options.MODEL,
                 help="What to train, see 'vgeo methods'; else that of --from, else geoclip."),
]  # fmt: skip
Start = Annotated[
    Path | None,
    typer.Option("--from", help="Model folder whose weights and settings to start with.",
                 rich_help_panel=options.MODEL),
]  # fmt: skip
Phase = Annotated[
    str | None, typer.Option("--phase", help="The only phase to train; else all in order.", rich_help_panel=TRAINING)
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the loss with torch.compile.", rich_help_panel=TRAINING)
]
Gallery = Annotated[
    Path | None,
    typer.Option("--gallery", "-g", help="Places to validate on, or cities to learn; else gallery.h5, else the data's.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip
Tiles = Annotated[
    Path | None,
    typer.Option("--tiles", help="Gallery of the tiles of the clips; of gama else --gallery.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip
Rankings = Annotated[
    Path | None,
    typer.Option("--rankings", help="With screening: what 'vgeo rank' finds for the clips, for phase predicted.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip
Val = Annotated[
    list[Path] | None,
    typer.Option(
        "--val", help="Held-out feature file, or folder of frames; may be repeated.", rich_help_panel=options.INPUTS
    ),
]
ValFraction = Annotated[
    float | None,
    typer.Option("--val-fraction", min=0, max=0.9, rich_help_panel=options.INPUTS,
                 help="Share of the clips to hold out; else by the label 'split', else 0.2."),
]  # fmt: skip

Clips = Annotated[
    Path | None,
    typer.Option("--clips", help="Train on the clips of this list only; see 'vgeo sample-clips'.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip


Scenes = Annotated[
    Path | None,
    typer.Option("--scenes", help="Scenes of the clips, of 'vgeo label-scenes' or a published list; else scenes.csv.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip
Text = Annotated[
    Path | None,
    typer.Option("--text", help="Published list with the names' text; else that of the gallery.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Table of the clips' cities; else the clips' own labels, else clips/clips.csv.",
                 rich_help_panel=options.INPUTS),
]  # fmt: skip


class At(StrEnum):
    """Where clips are in training."""

    own = "own"
    city = "city"
    either = "either"


Where = Annotated[
    At,
    typer.Option("--at", rich_help_panel=options.INPUTS,
                 help="Where clips are: at their own positions, at their city's in the gallery, or there if no own."),
]  # fmt: skip
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="PATH", help="Folder of weights to start from; else the package's or hub's.",
                 rich_help_panel=options.MODEL),
]  # fmt: skip
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Model folder; else models/METHOD.", rich_help_panel=options.OUTPUT),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where the same command stopped.", rich_help_panel=options.OUTPUT)
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=1, help="Epochs of each phase; else the method's.", rich_help_panel=TRAINING),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Clips, or single frames, a step; else the method's.",
                 rich_help_panel=TRAINING),
]  # fmt: skip
Accumulate = Annotated[
    int,
    typer.Option("--accumulate", min=1, rich_help_panel=TRAINING,
                 help="Pieces to cut each batch into, for less memory (and fewer negatives)."),
]  # fmt: skip
EvalEvery = Annotated[
    int | None,
    typer.Option("--eval-every", min=1, help="Epochs between validations; else 20 a phase.", rich_help_panel=TRAINING),
]


def train(
    features: Annotated[
        list[Path] | None, typer.Argument(help="Feature files, or folders of frames; else features.h5.")
    ] = None,
    method: Method = None,
    start: Start = None,
    settings: options.Settings = None,
    config: options.Config = None,
    weights: Weights = None,
    gallery: Gallery = None,
    tiles: Tiles = None,
    rankings: Rankings = None,
    val: Val = None,
    val_fraction: ValFraction = None,
    clips: Clips = None,
    at: Where = At.own,
    labels: Labels = None,
    scenes: Scenes = None,
    text: Text = None,
    layout: options.Layout = None,
    min_frames: options.MinFrames = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: options.Overwrite = False,
    phase: Phase = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    accumulate: Accumulate = 1,
    eval_every: EvalEvery = None,
    compiled: Compile = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
) -> None:
    """Train a method on feature files whose frames have positions, or on labelled clips.

    cityguessr learns cities: over features of a frozen encoder, or from a folder of frames together
    with its own video transformer; where they lie is looked up by their names. gama learns to match
    clips of frames with the tiles of --gallery, screening a video's tiles with regions. The folder holds
    the best model (by what is held out), the last one in last/, its gallery, metrics.jsonl, and state/
    to resume. What a method learns by is set with --set or --config: 'vgeo methods --settings METHOD'
    lists it. Several GPUs share each batch when started by 'torchrun --standalone --nproc-per-node N
    -m vgeo train ...'.
    """
    from vgeo import logs, methods
    from vgeo.errors import UsageError

    if method:
        methods.get(method)  # a wrong name is answered before anything heavy is imported
    if resume and overwrite:
        raise UsageError("--resume goes on and --overwrite starts anew: give one of them")
    from vgeo.device import choose
    from vgeo.stages.train import train as stage
    from vgeo.training.loop import Options

    with logs.progress_bar() as progress:
        stage(
            features or (),
            method,
            out,
            start=start,
            gallery=gallery,
            tiles=tiles,
            rankings=rankings,
            val=val or (),
            val_fraction=val_fraction,
            clips=clips,
            at=at.value,
            labels=labels,
            scenes=scenes,
            text=text,
            layout=layout,
            min_frames=min_frames,
            offline=offline,
            settings=settings or (),
            config=config,
            weights={method or "geoclip": weights} if weights else None,
            options=Options(
                epochs=epochs, batch_size=batch_size, accumulate=accumulate, seed=seed, phase=phase, compile=compiled
            ),
            eval_every=eval_every,
            resume=resume,
            overwrite=overwrite,
            compute=choose(device, precision),
            progress=progress,
        )
