"""`vgeo methods`: which systems there are, and what can be set."""

import json
import sys
from typing import Annotated

import typer

from vgeo.commands import options

EXAMPLE = "vgeo methods geoclip --settings"


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Show one method only.", autocompletion=options.complete_methods)
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="List what --set takes, with defaults and notes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON even on a terminal.")] = False,
) -> None:
    """List the methods: paper, what they need, what they give.

    A method is one file in vgeo/methods. With a name and --settings: every setting, its type, its default
    and where the default comes from.
    """
    from vgeo.stages.methods import describe_methods

    infos = describe_methods(name, with_settings=settings)
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps([info.to_json() for info in infos], indent=2, ensure_ascii=False))
        return
    from vgeo.reports.methods import print_methods

    print_methods(infos)
