"""Scores as text: JSON for programs, a table for people, Markdown, LaTeX (a row of VidTAG's Table 1) and CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vgeo.records import ErrorSummary, ScoreReport, TrackScore

Value = str | int | float
Shown = tuple[str, list[str], list[list[str]]]  # title, head and rows of a table
PER_CLIP = ("dfd_deg", "dfd_km", "mrd_deg", "mrd_km")


def score_json(report: ScoreReport, name: str = "", per_clip: bool = False) -> str:
    """One JSON object; accuracies are percent, and every key says its unit."""
    document: dict[str, object] = {
        "frame": summary_fields(report, report.frames),
        "video": summary_fields(report, report.videos),
        **trajectory_fields(report),
        **count_fields(report),
    }
    if per_clip:
        document["per_clip"] = [clip_fields(clip) for clip in report.clips]
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def summary_fields(report: ScoreReport, summary: ErrorSummary) -> dict[str, Value]:
    """within_X_km (percent) for each threshold, then median, mean and 95th percentile."""
    fields: dict[str, Value] = {"count": summary.count}
    for limit, share in zip(report.within_km, summary.within_percent, strict=True):
        fields[f"within_{limit:g}_km"] = share
    return fields | {
        "median_error_km": summary.median_km,
        "mean_error_km": summary.mean_km,
        "p95_error_km": summary.p95_km,
    }


def trajectory_fields(report: ScoreReport) -> dict[str, Value]:
    """dfd_deg_mean, dfd_deg_median and so on, over clips."""
    fields: dict[str, Value] = {}
    for key in PER_CLIP:
        values = [getattr(clip, key) for clip in report.clips]
        fields |= {f"{key}_mean": float(np.mean(values)), f"{key}_median": float(np.median(values))}
    return fields


def count_fields(report: ScoreReport) -> dict[str, int]:
    """Clips and frames with and without a counterpart."""
    return {
        "matched_clips": len(report.clips),
        "unmatched_predicted_clips": len(report.unmatched_clips),
        "unmatched_true_clips": len(report.unmatched_truth),
        "matched_frames": report.frames.count,
        "unmatched_predicted_frames": sum(clip.unmatched_frames for clip in report.clips),
        "unmatched_true_frames": sum(clip.unmatched_truth for clip in report.clips),
    }


def clip_fields(clip: TrackScore) -> dict[str, Value]:
    """One clip's scores."""
    return {
        "video_id": clip.video_id,
        "truth_id": clip.truth_id,
        "matched_by": clip.matched_by,
        "frames": len(clip.frame_errors_km),
        "unmatched_predicted_frames": clip.unmatched_frames,
        "unmatched_true_frames": clip.unmatched_truth,
        "median_error_km": float(np.median(clip.frame_errors_km)),
        "mean_error_km": float(np.mean(clip.frame_errors_km)),
        "video_error_km": clip.video_error_km,
        **{key: float(getattr(clip, key)) for key in PER_CLIP},
    }


def score_csv(report: ScoreReport, name: str = "", per_clip: bool = False) -> str:
    """One row of everything, or one row a clip."""
    from vgeo.formats.tables import guarded

    if per_clip:
        rows: list[dict[str, Value]] = [clip_fields(clip) for clip in report.clips]
    else:
        row: dict[str, Value] = {"name": name}
        for unit, summary in (("frame", report.frames), ("video", report.videos)):
            row |= {f"{unit}_{key}": value for key, value in summary_fields(report, summary).items()}
        rows = [row | trajectory_fields(report) | count_fields(report)]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(guarded(value) if isinstance(value, str) else value for value in row.values())
    return buffer.getvalue()


def table_1_row(report: ScoreReport) -> list[str]:
    """Cells in the order of VidTAG's Table 1: frames, videos (accuracies, median km), DFD and MRD in degrees."""
    cells: list[str] = []
    for summary in (report.frames, report.videos):
        cells += [f"{share:.1f}" for share in summary.within_percent] + [f"{summary.median_km:.2f}"]
    fields = trajectory_fields(report)
    return [*cells, f"{fields['dfd_deg_mean']:.2f}", f"{fields['mrd_deg_mean']:.2f}"]


def score_latex(report: ScoreReport, name: str = "", per_clip: bool = False) -> str:
    """A row for a table like VidTAG's Table 1, with the columns named in a comment above."""
    limits = [f"{limit:g} km" for limit in report.within_km]
    head = [*(f"frame {limit}" for limit in limits), "median km", *(f"video {limit}" for limit in limits), "median km"]
    return latex_row(["name", *head, "DFD deg", "MRD deg"], [name, *table_1_row(report)])


def latex_row(head: Sequence[str], cells: Sequence[str]) -> str:
    """A table's row, with its columns named in a comment above."""
    escaped = ["".join(_LATEX.get(letter, letter) for letter in cell) for cell in cells]
    return f"% {' & '.join(head)}\n{' & '.join(escaped)} \\\\\n"


_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def score_markdown(report: ScoreReport, name: str = "", per_clip: bool = False) -> str:
    """Tables in Markdown."""
    blocks = []
    for title, head, rows in _tables(report, per_clip):
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        blocks.append(f"**{title}**\n\n{body}\n")
    return "\n".join(blocks)


def score_table(report: ScoreReport, name: str = "", per_clip: bool = False) -> str:
    """Tables for a terminal."""
    return as_text(_tables(report, per_clip))


def as_text(tables: Iterable[Shown], words: Sequence[str] = ()) -> str:
    """Tables as plain text, without colours. words: heads of columns of text, besides the first of each table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=200, color_system=None, markup=False, emoji=False)
    for title, head, rows in tables:
        table = Table(box=box.SIMPLE, title=title, title_justify="left", title_style="")
        for i, column in enumerate(head):
            table.add_column(column, justify="left" if i == 0 or column in words else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]  # it is the StringIO above
    return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def _tables(report: ScoreReport, per_clip: bool) -> list[Shown]:
    """The tables that people see."""
    limits = [f"within {limit:g} km" for limit in report.within_km]
    head = ["", "count", *limits, "median km", "mean km", "95 % km"]
    rows = [_summary_row(name, s) for name, s in (("frames", report.frames), ("videos", report.videos))]
    fields = trajectory_fields(report)
    track_rows = [
        [
            label,
            *(_plain(float(fields[f"{key}_{which}_{how}"])) for which in ("deg", "km") for how in ("mean", "median")),
        ]
        for label, key in (("discrete Fréchet distance", "dfd"), ("mean range difference", "mrd"))
    ]
    counts = count_fields(report)
    count_rows = [
        [kind, *(str(counts[f"{which}_{kind}"]) for which in ("matched", "unmatched_predicted", "unmatched_true"))]
        for kind in ("clips", "frames")
    ]
    tables = [
        ("Errors", head, rows),
        ("Trajectories", ["", "mean deg", "median deg", "mean km", "median km"], track_rows),
        ("Matched", ["", "matched", "predicted only", "true only"], count_rows),
    ]
    if per_clip:
        tables.append(("Clips", _CLIP_HEAD, [_clip_row(clip) for clip in report.clips]))
    return tables


_CLIP_HEAD = ["clip", "frames", "median km", "video km", "DFD deg", "DFD km", "MRD deg", "MRD km"]


def _clip_row(clip: TrackScore) -> list[str]:
    values = (float(np.median(clip.frame_errors_km)), clip.video_error_km, *(getattr(clip, key) for key in PER_CLIP))
    return [printable(clip.video_id), str(len(clip.frame_errors_km)), *(_plain(value) for value in values)]


def printable(text: str) -> str:
    """Text from a stranger's file without the escape sequences that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _summary_row(name: str, summary: ErrorSummary) -> list[str]:
    shares = [f"{share:.1f} %" for share in summary.within_percent]
    kilometres = [_plain(value) for value in (summary.median_km, summary.mean_km, summary.p95_km)]
    return [name, str(summary.count), *shares, *kilometres]


def _plain(value: float) -> str:
    """Three significant digits, never in powers of ten above one metre."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.2g}"


RENDERERS: dict[str, Callable[[ScoreReport, str, bool], str]] = {
    "json": score_json,
    "table": score_table,
    "md": score_markdown,
    "latex": score_latex,
    "csv": score_csv,
}
