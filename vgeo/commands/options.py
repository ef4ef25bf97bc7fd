"""Every option that two or more commands share, declared once, with its help text and its reading."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vgeo import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vgeo.datasets.base import Recipe
    from vgeo.formats.shards import Shard
    from vgeo.records import Outcome


def one_of(*words: str) -> "Callable[[str], list[str]]":
    """Completion, for the shell, of an option that takes one of a few words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


INPUTS = "Input"
OUTPUT = "Output"
SAMPLING = "Sampling"
MODEL = "Model"
RUN = "Run"
LAYOUT = "Data set (with --layout)"

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.", rich_help_panel=OUTPUT)]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", help="Write one JSON line for every input: done, skipped or failed.", rich_help_panel=OUTPUT
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first input that fails.", rich_help_panel=RUN)]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only every N-th input from the I-th on, as one of N machines; 'vgeo merge' joins their outputs.",
        rich_help_panel=RUN,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where to compute: auto, cpu, cuda or cuda:N.",
        autocompletion=one_of("auto", "cpu", "cuda"),
        rich_help_panel=RUN,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of matrix products: auto (bf16 where it is fast), fp32 or bf16.",
        autocompletion=one_of("auto", "fp32", "bf16"),
        rich_help_panel=RUN,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.", rich_help_panel=RUN)
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never touch the network: local files and caches only.", rich_help_panel=RUN)
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Spread the clips over a Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT (needs the extra 'ray').",
        autocompletion=one_of("auto", "local"),
        rich_help_panel=RUN,
    ),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Clips decoded at a time.", rich_help_panel=RUN)]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Frames, videos, folders or lists (.txt, -) of them; the data set's folder with --layout.",
        show_default="frames/, else clips/",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of the method; may be repeated. 'vgeo methods --settings' lists them.",
        metavar="KEY=VALUE",
        rich_help_panel=MODEL,
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings; --set wins over it.", rich_help_panel=MODEL)
]


def complete_methods(incomplete: str) -> list[str]:
    """Names of methods, for the shell."""
    from vgeo import methods

    return [name for name in methods.names() if name.startswith(incomplete)]


def complete_encoders(incomplete: str) -> list[str]:
    """Names of encoders, for the shell."""
    from vgeo import encoders

    return [name for name in encoders.names() if name.startswith(incomplete)]


Encoders = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Frozen encoder: gist, clip, dinov2, siglip, torchvision:MODEL; may be repeated.",
        autocompletion=complete_encoders,
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="[NAME=]PATH",
        help="Local weights, a file or folder, instead of downloaded ones; NAME says of which encoder (or method).",
        rich_help_panel=MODEL,
    ),
]

# --- sampling: which moments of a clip (extract-frames, precompute-features and localize take the same) ---
RateHz = Annotated[
    float | None,
    typer.Option(
        "--rate-hz", min=0.0, help="Frames a second; 1 when nothing else is asked for.", rich_help_panel=SAMPLING
    ),
]
EveryS = Annotated[
    float | None, typer.Option("--every-s", min=0.0, help="One frame every so many seconds.", rich_help_panel=SAMPLING)
]
EveryM = Annotated[
    float | None,
    typer.Option(
        "--every-m", min=0.0, help="One frame every so many metres travelled; needs a track.", rich_help_panel=SAMPLING
    ),
]
Count = Annotated[
    int | None,
    typer.Option("--count", min=1, help="So many frames, spread uniformly over the clip.", rich_help_panel=SAMPLING),
]
Stride = Annotated[int | None, typer.Option("--stride", min=1, help="Every n-th frame.", rich_help_panel=SAMPLING)]
StartS = Annotated[
    float, typer.Option("--start-s", min=0.0, help="Begin so far into the clip.", rich_help_panel=SAMPLING)
]
EndS = Annotated[
    float | None,
    typer.Option("--end-s", min=0.0, help="End so far into it; at its end if not given.", rich_help_panel=SAMPLING),
]
TrackFile = Annotated[
    Path | None,
    typer.Option(
        "--track",
        help="Positions: GPX, CSV, GeoJSON, KML, DJI SRT, BDD100K's info, or a folder with one for each clip. Else a "
        "sidecar of the same name, else telemetry.",
        rich_help_panel=INPUTS,
    ),
]
TimeOffsetS = Annotated[
    float,
    typer.Option(
        "--time-offset-s", help="Seconds to add to the clip's time to get the track's.", rich_help_panel=INPUTS
    ),
]
MaxGapS = Annotated[
    float,
    typer.Option(
        "--max-gap-s",
        min=0.0,
        help="A frame further than so many seconds from the nearest fix gets no position.",
        rich_help_panel=INPUTS,
    ),
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder",
        help="pyav goes by timestamps. decord is for comparison: it errs on HEVC, MPEG-TS, AVI and cut files.",
        autocompletion=one_of("pyav", "decord"),
        rich_help_panel=RUN,
    ),
]


def complete_layouts(incomplete: str) -> list[str]:
    """Names of data set layouts, for the shell."""
    from vgeo import datasets

    return [name for name in datasets.names() if name.startswith(incomplete)]


# --- data sets: how sequences are made of one (extract-frames and precompute-features take the same) ---
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="The input is the folder of a published data set: msls, cityguessr68k or gama.",
        autocompletion=complete_layouts,
        rich_help_panel=LAYOUT,
    ),
]
City = Annotated[
    list[str] | None, typer.Option("--city", help="Only this city; may be repeated.", rich_help_panel=LAYOUT)
]
WithTest = Annotated[
    bool, typer.Option("--with-test", help="Also the test cities, without positions.", rich_help_panel=LAYOUT)
]
MinFrames = Annotated[
    int | None,
    typer.Option("--min-frames", min=1, help="Leave out shorter sequences; msls: 16.", rich_help_panel=LAYOUT),
]
SplitGaps = Annotated[
    bool, typer.Option("--split-gaps", help="Cut sequences where frame numbers leap.", rich_help_panel=LAYOUT)
]
ApartM = Annotated[
    float | None,
    typer.Option(
        "--apart-m",
        help="Hold out one area of each city, and leave out what comes so near to it; else draw sequences.",
        rich_help_panel=LAYOUT,
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=2**32 - 1,
        help="Seed of what is held out (a fifth of each city); 0 if not given.",
        rich_help_panel=LAYOUT,
    ),
]


def recipe(
    layout: str | None,
    cities: "Sequence[str] | None",
    with_test: bool,
    min_frames: int | None,
    split_gaps: bool,
    apart_m: float | None,
    seed: int | None,
    labels: Path | None = None,
) -> "Recipe":
    """Read the options that go with --layout. Raises UsageError for one without it, or that is not for a data set."""
    given = {
        "--city": cities,
        "--with-test": with_test,
        "--min-frames": min_frames is not None,
        "--split-gaps": split_gaps,
        "--apart-m": apart_m is not None,
        "--seed": seed is not None,
        "--labels": labels is not None,
    }
    alone = [name for name, value in given.items() if value]
    if layout is None and alone:
        raise errors.UsageError(f"{alone[0]}: says how to read a data set; name which with --layout")
    from vgeo.datasets.base import Recipe

    return Recipe(
        min_frames=min_frames,
        split_gaps=split_gaps,
        seed=seed or 0,
        apart_m=apart_m,
        with_test=with_test,
        cities=tuple(cities or ()),
        labels=labels,
    )


def shard_of(text: str | None) -> "Shard | None":
    """Read --shard. Raises UsageError."""
    if text is None:
        return None
    from vgeo.formats.shards import Shard

    return Shard.parse(text)


def refuse_with_layout(layout: str | None, **given: object) -> None:
    """Raise UsageError for the first option that is given beside --layout and would do nothing."""
    for name, value in given.items():
        if layout is not None and value:
            raise errors.UsageError(f"--{name.replace('_', '-')}: does nothing with --layout {layout}; leave it out")


def finish(outcomes: "Sequence[Outcome]") -> NoReturn:
    """End a batch command: 0 when nothing failed, a lone input's own code, else 3 with a line that counts."""
    import logging

    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if not failed:
        raise typer.Exit(errors.OK)
    if len(outcomes) == 1:
        raise typer.Exit(failed[0].exit_code)
    logging.getLogger("vgeo").warning("%d of %d inputs failed", len(failed), len(outcomes))
    raise typer.Exit(errors.SOME_FAILED)
