"""`vgeo doctor`: what is installed here and what works."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from vgeo import errors

EXAMPLE = "vgeo doctor --json"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON even on a terminal.")] = False,
) -> None:
    """Check versions, codecs, devices, weights and caches, and say what to do about what is missing.

    Nothing is downloaded. Exits 69 when something that every command needs does not work.
    """
    from vgeo.stages.doctor import examine

    checks = examine()
    if as_json or not sys.stdout.isatty():
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        from vgeo.reports.doctor import print_checks

        print_checks(checks)
    if any(check.status == "missing" and check.needed for check in checks):
        raise typer.Exit(errors.UNAVAILABLE)
