"""`vgeo sample-clips`: which clips of several feature files are trained on together."""

from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options

EXAMPLE = (
    "vgeo sample-clips msls.h5 cityguessr.h5 gama.h5 --without-cities-of cityguessr.h5=msls.h5 "
    "--per-city cityguessr.h5=80 --sample gama.h5=msls.h5"
)

RULES = "Rules"


def sample_clips(
    features: Annotated[list[str], typer.Argument(help="Feature files.", show_default=False)],
    out: Annotated[
        str, typer.Option("--out", "-o", help="List to write (CSV); - is stdout.", rich_help_panel=options.OUTPUT)
    ] = "clips.csv",
    without_cities_of: Annotated[
        list[str] | None,
        typer.Option(
            "--without-cities-of",
            metavar="FILE=OTHER",
            help="Leave out of FILE the cities that OTHER has; may be repeated.",
            rich_help_panel=RULES,
        ),
    ] = None,
    per_city: Annotated[
        list[str] | None,
        typer.Option(
            "--per-city",
            metavar="FILE=N",
            help="Draw N clips of each city of FILE; of smaller cities take all.",
            rich_help_panel=RULES,
        ),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            "--sample",
            metavar="FILE=N|OTHER",
            help="Draw N clips of FILE, or as many as are chosen of OTHER.",
            rich_help_panel=RULES,
        ),
    ] = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Choose the clips of several feature files that are trained on together.

    Writes a list of training clips, for 'vgeo train FILES --clips clips.csv'. Rules apply to the file
    they name, in the order of their options here; a file without a rule is taken whole. Cities are
    compared without case and accents, and under their usual other names. The example is VidTAG's
    unified model (appendix H).
    """
    from vgeo.stages.sample_clips import Rules
    from vgeo.stages.sample_clips import sample_clips as stage

    sizes: dict[str, int | str] = {}
    for name, value in _pairs("--sample", sample).items():
        sizes[name] = _number("--sample", name, value) if value.lstrip("-").isdecimal() else value
    rules = Rules(
        without_cities_of=_pairs("--without-cities-of", without_cities_of),
        per_city={name: _number("--per-city", name, n) for name, n in _pairs("--per-city", per_city).items()},
        sample=sizes,
        seed=seed,
    )
    stage(features, Path(out), rules, overwrite=overwrite)


def _pairs(option: str, words: list[str] | None) -> dict[str, str]:
    """FILE=VALUE words; the last = parts them. Raises UsageError."""
    from vgeo.errors import UsageError

    found: dict[str, str] = {}
    for word in words or ():
        name, _, value = word.rpartition("=")
        if not name or not value:
            raise UsageError(f"{option} {word}: not of the form FILE=VALUE")
        if name in found:
            raise UsageError(f"{option} {word}: {name} has this rule already")
        found[name] = value
    return found


def _number(option: str, name: str, value: str) -> int:
    from vgeo.errors import UsageError

    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{option} {name}={value}: must be a number of at least 1")
    return int(value)
