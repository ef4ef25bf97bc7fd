"""Tables of methods and settings for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from vgeo.stages.methods import MethodInfo


def print_methods(infos: "Sequence[MethodInfo]", console: Console | None = None) -> None:
    """Print one row a method, and a table of settings below each that brings them."""
    console = console or Console()
    table = Table("name", "what", "paper", "needs", "gives", "gallery", "trains", box=None, pad_edge=False)
    for info in infos:
        trains = ", ".join(info.phases) or "-"
        table.add_row(info.name, info.title, info.paper, info.needs, info.gives, info.gallery, trains)
    console.print(table)
    for info in infos:
        if not info.settings:
            continue
        rows = Table("setting", "type", "default", "note", box=None, pad_edge=False, title=f"\n{info.name} --set")
        for setting in info.settings:
            rows.add_row(setting.name, setting.type, str(setting.default), setting.note)
        console.print(rows)
