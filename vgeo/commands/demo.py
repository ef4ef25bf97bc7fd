"""`vgeo demo`: the whole pipeline on a small made-up world."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vgeo.commands import options
from vgeo.logs import progress_bar

EXAMPLE = "vgeo demo vgeo-demo"


def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("vgeo-demo"),
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="gps finds frames among GPS points, aerial finds clips among aerial tiles.",
            autocompletion=options.one_of("gps", "aerial"),
        ),
    ] = "gps",
    clips: Annotated[
        int | None,
        typer.Option(
            "--clips", min=4, help="Drives to render; fewer is faster and worse.", show_default="36; aerial: 60"
        ),
    ] = None,
    seed: options.Seed = 0,
    world_only: Annotated[
        bool, typer.Option("--world-only", help="Only make the world, and print the commands to type.")
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a small world with real geography under it, and run the commands over its clips.

    Each command is printed before it runs, as you would type it in that folder. Ends with a table,
    a picture (tracks.png) and a map (map.html). Downloads nothing; takes less than two minutes on
    two cores, and a few minutes with aerial tiles. Run it again to go on where it was interrupted.
    """
    from dataclasses import replace

    from vgeo.errors import UsageError
    from vgeo.world.demo import run_demo
    from vgeo.world.demo_kinds import STAGES

    if kind not in STAGES:
        raise UsageError(f"--kind {kind}: not one of {', '.join(STAGES)}")

    root = ctx.find_root().command

    def run(words: Sequence[str]) -> int:
        """Run one command line in this process; its errors are ours, message and exit code."""
        try:
            with root.make_context("vgeo", list(words)) as context:
                root.invoke(context)
        except typer.Exit as stop:
            return int(stop.exit_code)
        return 0

    def say(line: str) -> None:
        typer.echo(line, err=True)

    usual = STAGES[kind].settings
    settings = replace(usual, seed=seed, clips=clips or usual.clips)
    with progress_bar() as progress:
        code = run_demo(folder, settings, run, say, overwrite=overwrite, world_only=world_only, progress=progress)
    raise typer.Exit(code)
