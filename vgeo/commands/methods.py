"""`vgeo methods`: which systems there are, and what can be set."""

import json
import sys
from typing import Annotated

import typer

from vgeo.commands import options

EXAMPLE = "vgeo methods geoclip --settings"

ClipFrames = Annotated[
    int | None,
    typer.Option(
        "--clip-frames", min=1, max=2000, help="For --costs of what searches a gallery: frames of a clip; else 16."
    ),
]


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Show one method only.", autocompletion=options.complete_methods)
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="List what --set takes, with defaults and notes.")
    ] = False,
    costs: Annotated[
        bool, typer.Option("--costs", help="Count parameters and multiply-accumulates of one method's parts.")
    ] = False,
    clip_frames: ClipFrames = None,
    changed: options.Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON even on a terminal.")] = False,
) -> None:
    """List the methods: paper, what they need, what they give.

    A method is one file in vgeo/methods. With a name and --settings: every setting, its type, its default
    and where the default comes from. With a name and --costs: what it costs at its settings, or at those
    of --set, per frame of a clip and per place of a gallery, or per answer of one that knows classes,
    beside what its paper says.
    """
    from vgeo.errors import UsageError
    from vgeo.stages.methods import describe_methods

    if costs and name is None:
        raise UsageError("--costs needs a method, as in 'vgeo methods vidtag --costs'")
    if not costs and (changed or clip_frames):
        raise UsageError("--set and --clip-frames change what --costs counts: give it too")
    infos = describe_methods(
        name, with_settings=settings, costs_of=changed or () if costs else None, clip_frames=clip_frames or 16
    )
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps([info.to_json() for info in infos], indent=2, ensure_ascii=False))
        return
    from vgeo.reports.methods import print_methods

    print_methods(infos)
