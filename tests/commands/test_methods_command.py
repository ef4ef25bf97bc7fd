"""`vgeo methods`: JSON in a pipe, tables on a terminal, one line for what cannot be."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from vgeo.cli import run
from vgeo.reports.methods import print_methods
from vgeo.stages.methods import describe_methods


def test_costs_in_a_pipe_are_json() -> None:
    command = [sys.executable, "-c", "from vgeo.cli import main; main()", "methods", "geoclip", "--costs"]
    command += ["--set", "encoder=gist", "--set", "feature_dim=624", "--clip-frames", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (method,) = json.loads(done.stdout)
    costs = method["costs"]
    assert costs["settings"] == {"encoder": "gist", "feature_dim": 624}
    assert costs["clip_frames"] == 3
    assert costs["retrieval"] == {"macs_per_frame_and_place": 512, "times": 1}
    assert {part["name"]: part["macs_per_frame"] for part in costs["parts"]} == {
        "gist": 0,
        "image": 624 * 768 + 768 * 512,
        "location": 0,
        "logit_scale": 0,
    }


def test_without_costs_nothing_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["methods"]) == 0
    assert all("costs" not in method for method in json.loads(capfd.readouterr().out))


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["vidtag", "--costs", "--set", "nope=1"], 78, "no setting 'nope'"),
        (["vidtag", "--costs", "--set", "mlp_widths=wide"], 78, "mlp_widths expects integer, got 'wide'"),
        (["vidtag", "--costs", "--set", "heads=5"], 78, "heads must divide"),
        (["geoclip", "--costs", "--set", "encoder=nope"], 2, "no encoder 'nope'"),
        (["--costs"], 2, "--costs needs a method"),
        (["vidtag", "--set", "heads=4"], 2, "--costs"),
        (["vidtag", "--clip-frames", "4"], 2, "--costs"),
        (["vidtag", "--costs", "--clip-frames", "0"], 2, "--clip-frames"),
        (["nope", "--costs"], 2, "no method 'nope'"),
    ],
)
def test_what_cannot_be_is_one_line(args: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", *args]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def shown(name: str, settings: tuple[str, ...]) -> str:
    screen = io.StringIO()
    print_methods(describe_methods(name, costs_of=settings), Console(file=screen, width=200))
    return screen.getvalue()


def test_a_table_on_a_terminal() -> None:
    text = shown("vidtag", ("encoders=clip:a/[red]b,dinov2:a/b", "mlp_widths=1024"))
    assert "vidtag --costs --set encoders=clip:a/[red]b,dinov2:a/b --set mlp_widths=1024" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["clip:a/[red]b"][2] == "?"
    assert rows["mlp"][1:4] == ["align", "2.361", "M"]
    assert rows["geo_refiner"][1:4] == ["refine", "88.166", "M"]
    assert "without clip:a/[red]b, dinov2:a/b, in clips of 16 frames" in text
    assert "retrieval: 512 MACs a frame and place, done twice" in text


def test_a_method_without_parts() -> None:
    assert "no part of its own" in shown("nearest", ())


def test_what_knows_classes_costs_an_answer() -> None:
    text = shown("cityguessr", ())
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["backbone"][1:] == ["classify", "21.879", "M", "0.602", "M", "56.8779"]
    assert rows["text"][1:] == ["classify", "0.435", "M", "-", "-", "runs", "in", "training", "alone"]
    assert "GMACs a place" not in text and "retrieval" not in text
    assert "an answer: 56.88 GMACs, from 16 frames" in text
    text = shown("cityguessr", ("backbone=features", "encoder=clip:a/b", "rows=2"))
    assert "GMACs without clip:a/b, from 2 rows of clip:a/b features" in text.replace(", without", " without")
