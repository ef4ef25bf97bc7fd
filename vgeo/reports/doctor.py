"""The doctor's findings for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from vgeo.stages.doctor import Check

_MARKS = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "note": "[yellow]note[/]"}


def print_checks(checks: "Sequence[Check]", console: Console | None = None) -> None:
    """Print one row a finding, the next step under what is missing."""
    table = Table("", "what", "found", box=None, pad_edge=False)
    for check in checks:
        table.add_row(_MARKS[check.status], check.name, check.found + (f"\n→ {check.advice}" if check.advice else ""))
    (console or Console()).print(table)
