"""Tables of methods, settings and costs for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vgeo.methods.settings import format_value

if TYPE_CHECKING:
    from vgeo.methods.base import PublishedCost
    from vgeo.stages.costs import MethodCosts, PartCost
    from vgeo.stages.methods import MethodInfo


def print_methods(infos: "Sequence[MethodInfo]", console: Console | None = None) -> None:
    """Print one row a method, and tables of settings and costs below each that brings them."""
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
    for info in infos:
        if info.costs is not None:
            print_costs(info.name, info.costs, console)


def print_costs(name: str, costs: "MethodCosts", console: Console) -> None:
    """Print one row a part, the sums, how they were counted, and the paper's figures beside ours."""
    changed = "".join(f" --set {key}={format_value(value)}" for key, value in costs.settings.items())
    table = Table(box=None, pad_edge=False, title=escape(f"\n{name} --costs{changed}"))
    for column in ("part", "trained in"):
        table.add_column(column)
    of_frame = ("GMACs a frame", *(["refining"] if costs.refines else []))
    of_place = ["GMACs a place"] if _has_places(costs) else []
    for column in ("parameters", "fixed", *(["GMACs an answer"] if costs.window else of_frame), *of_place):
        table.add_column(column, justify="right")
    table.add_column("note")
    for part in costs.parts:
        table.add_row(*_part_row(part, costs))
    if costs.parts:
        console.print(table)
    for line in _cost_lines(costs):
        console.print(line, highlight=False, markup=False)


def _has_places(costs: "MethodCosts") -> bool:
    """Whether it embeds the places of a gallery; one that knows them as classes does not."""
    return not costs.window or costs.macs_per_place > 0


def _part_row(part: "PartCost", costs: "MethodCosts") -> list[str]:
    frozen = "frozen" if part.parameters else "-"
    parameters = "?" if part.parameters is None else _count(part.parameters)
    if costs.window:
        macs = [_giga(part.macs_per_window)]
    else:
        macs = [_giga(part.macs_per_frame), *([_giga(part.macs_per_frame_refining)] if costs.refines else [])]
    macs += [_giga(part.macs_per_place)] if _has_places(costs) else []
    trained = ", ".join(part.trainable) or frozen
    return [escape(part.name), trained, parameters, _count(part.buffers), *macs, part.note]


def _cost_lines(costs: "MethodCosts") -> list[str]:
    """Sums, convention, retrieval, and published figures."""
    published = [_published_line(figure, costs.ours(figure)) for figure in costs.published]
    if costs.embed_dim is None and not costs.window:
        return [
            "\nno part of its own; retrieval: a MAC a frame, place and number of the features that the gallery holds"
        ]
    trained = ", ".join(f"{phase} {count / 1e6:.2f} M" for phase, count in costs.trainable.items()) or "nothing"
    partial = f", without {', '.join(costs.not_counted)}" if costs.not_counted else ""
    if costs.window:
        searched = [f"retrieval: {costs.embed_dim} MACs an answer and place"] if costs.embed_dim else []
        return [
            f"trained: {trained}",
            f"an answer: {costs.macs_per_window / 1e9:.2f} GMACs{partial}, from {costs.window}",
            f"counted: {costs.convention}",
            *searched,
            *published,
        ]
    return [
        f"trained: {trained}",
        f"a frame: {costs.macs_per_frame / 1e9:.2f} GMACs{partial}, in clips of {costs.clip_frames} frames",
        f"counted: {costs.convention}",
        f"retrieval: {costs.embed_dim} MACs a frame and place{', done twice' if costs.refines else ''}",
        *published,
    ]


def _published_line(figure: "PublishedCost", ours: int) -> str:
    if figure.quantity == "trainable":
        both = f"{figure.value / 1e6:.1f} M parameters trained in {figure.phase}; here {ours / 1e6:.1f} M"
    else:
        both = f"{figure.value / 1e9:.2f} GMACs; here {ours / 1e9:.2f}"
    return f"{figure.source}: {both} ({figure.note})"


def _count(number: int) -> str:
    if not number:
        return "-"
    return f"{number:,}" if number < 100_000 else f"{number / 1e6:.3f} M"


def _giga(macs: int | None) -> str:
    if macs is None:
        return "?"
    return f"{macs / 1e9:.4f}" if macs else "-"
