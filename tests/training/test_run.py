"""Runs: what lies in the folder, which model is the best, and going on after a stop as if there had been none."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import worlds
from safetensors.torch import load_file, save

from vgeo.device import choose
from vgeo.errors import BusyError, DiskError, FormatError, InputError, OutputError, SettingError, writing_failed
from vgeo.formats.checkpoints import atomic_folder, read_model
from vgeo.formats.gallery import read_gallery
from vgeo.stages.models import load_model
from vgeo.stages.train import TrainResult, train
from vgeo.training import run as run_module
from vgeo.training.folder import STATE, check_folder, locked
from vgeo.training.loop import Options
from vgeo.training.state import read_state

SMALL = (
    "init=scratch", "encoder=gist", "sigmas=1,1024", "fourier=8", "location_width=16", "location_depth=1",
    "embed_dim=16", "image_width=16", "batch_frames=40", "learning_rate=3e-3", "warmup_steps=3", "epochs=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.write_features(tmp_path_factory.mktemp("run") / "f.h5", 12).path


def go(features: Path, out: Path, *settings: str, **kwargs: object) -> TrainResult:
    options = kwargs.pop("options", Options(seed=5))
    return train([features], "geoclip", out, settings=[*SMALL, *settings], options=options, **kwargs)  # type: ignore[arg-type]


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_the_folder_is_a_model_with_its_gallery_metrics_and_state(features: Path, tmp_path: Path) -> None:
    found = go(features, tmp_path / "m", eval_every=1)
    assert found.folder == tmp_path / "m"
    assert found.epochs == 4
    names = {"README.md", "config.json", "gallery.h5", "last", "metrics.jsonl", "model.safetensors", "state"}
    assert {path.name for path in found.folder.iterdir()} == names
    assert not list(tmp_path.glob(".*")), "neither locks nor unfinished folders stay"

    metrics = lines(found.folder)
    assert [line["epoch"] for line in metrics] == [1, 2, 3, 4]
    assert all(math.isfinite(line["loss"]) and line["seconds"] >= 0 for line in metrics)
    medians = [line["validation"]["median_error_km"] for line in metrics]
    assert found.median_error_km == min(medians)
    assert found.best_epoch == 1 + medians.index(min(medians))

    best, last = read_model(found.folder), read_model(found.folder / "last")
    assert best.extra["epoch"] == found.best_epoch
    assert best.extra["validation"]["median_error_km"] == found.median_error_km
    assert last.extra["epoch"] == 4
    assert best.config["learning_rate"] == 3e-3
    assert best.config["feature_dim"] == 8, "taken from the feature file"
    assert best.encoders["gist"].dim == 8
    for folder in (found.folder, found.folder / "last"):
        model = load_model(folder)
        assert model.gallery is not None
        assert len(read_gallery(model.gallery)) == len(set(map(tuple, read_gallery(model.gallery).latlon_deg)))


def test_the_best_model_is_the_one_that_was_measured(features: Path, tmp_path: Path) -> None:
    """Every epoch's validation, worked out again from a run that ends there."""
    found = go(features, tmp_path / "m", eval_every=1)
    again = go(features, tmp_path / "n", eval_every=1, options=Options(seed=5, epochs=found.best_epoch))
    assert worlds.same(load_file(tmp_path / "m/model.safetensors"), load_file(tmp_path / "n/last/model.safetensors"))
    assert again.epochs == found.best_epoch


def test_without_held_out_frames_the_last_model_is_the_best(features: Path, tmp_path: Path) -> None:
    found = go(features, tmp_path / "m", val_fraction=0.0)
    assert found.median_error_km is None
    assert found.best_epoch == 4
    best, last = (load_file(tmp_path / "m" / name) for name in ("model.safetensors", "last/model.safetensors"))
    assert worlds.same(best, last)
    assert all("validation" not in line for line in lines(tmp_path / "m"))


def test_a_resumed_run_is_byte_equal_to_a_straight_one(features: Path, tmp_path: Path) -> None:
    straight, halves = tmp_path / "straight", tmp_path / "halves"
    options = Options(seed=5, accumulate=2)
    go(features, straight, "gps_noise_m=20", "queue=30", options=options, eval_every=1)
    go(features, halves, "gps_noise_m=20", "queue=30", options=Options(seed=5, accumulate=2, epochs=2), eval_every=1)
    torch.rand(5)
    found = go(features, halves, "gps_noise_m=20", "queue=30", options=options, eval_every=1, resume=True)
    assert found.epochs == 4
    for name in ("last/model.safetensors", "model.safetensors", "gallery.h5", "last/config.json", str(STATE)):
        assert (straight / name).read_bytes() == (halves / name).read_bytes(), name
    strip = [{**line, "seconds": 0} for line in lines(straight)]
    assert strip == [{**line, "seconds": 0} for line in lines(halves)]


def test_resuming_a_finished_run_changes_nothing(
    features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = go(features, tmp_path / "m")
    before = (tmp_path / "m" / STATE).read_bytes()
    caplog.set_level("INFO", "vgeo")
    assert go(features, tmp_path / "m", resume=True) == first
    assert "all 4 epochs were trained already" in caplog.text
    assert (tmp_path / "m" / STATE).read_bytes() == before


def test_resume_refuses_other_settings_and_other_data(features: Path, tmp_path: Path) -> None:
    go(features, tmp_path / "m", options=Options(seed=5, epochs=1))
    before = (tmp_path / "m" / STATE).read_bytes()
    other = worlds.write_features(tmp_path / "other.h5", 12, seed=4).path
    for words, call in {
        "learning_rate 0.003, now 0.01": lambda: go(features, tmp_path / "m", "learning_rate=1e-2", resume=True),
        "seed 5, now 6": lambda: go(features, tmp_path / "m", options=Options(seed=6), resume=True),
        "batch size none, now 7": lambda: go(
            features, tmp_path / "m", options=Options(seed=5, batch_size=7), resume=True
        ),
        "training data": lambda: go(other, tmp_path / "m", resume=True),
    }.items():
        with pytest.raises(SettingError) as caught:
            call()
        assert words in str(caught.value)
        assert "--overwrite" in str(caught.value)
    assert (tmp_path / "m" / STATE).read_bytes() == before
    with pytest.raises(InputError, match="nothing to resume"):
        go(features, tmp_path / "none", resume=True)


def test_a_damaged_state_is_said(features: Path, tmp_path: Path) -> None:
    go(features, tmp_path / "m", options=Options(seed=5, epochs=1))
    state = tmp_path / "m" / STATE
    whole = state.read_bytes()
    for damage in (b"", whole[:100], whole[:-10], b"\xff" * 200):
        state.write_bytes(damage)
        with pytest.raises(FormatError, match="damaged"):
            go(features, tmp_path / "m", resume=True)
    state.write_bytes(save({"model.a": torch.zeros(1)}, {"vgeo": '{"settings": {}, "position": 1}'}))
    with pytest.raises(FormatError, match="damaged"):
        go(features, tmp_path / "m", resume=True)
    state.write_bytes(whole)
    (tmp_path / "m" / "metrics.jsonl").write_text('{"loss": "low"}\n')
    with pytest.raises(FormatError, match=r"metrics\.jsonl: damaged"):
        go(features, tmp_path / "m", resume=True)


def test_existing_folders_are_not_replaced_unasked(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    go(features, out, options=Options(seed=5, epochs=1))
    with pytest.raises(OutputError, match="--resume"):
        go(features, out)
    go(features, out, overwrite=True, options=Options(seed=5, epochs=2))
    assert len(lines(out)) == 2
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt, which is no part of a model"):
        go(features, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="is a file"):
        check_folder(features, True, False)


def test_two_processes_do_not_fill_one_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_folder(tmp_path / "m") as unfinished:
        left = unfinished.with_name(unfinished.name[:-9] + "x.partial")
        left.mkdir()
        raise KeyError
    others = [tmp_path / name for name in (".m.v2.abcdefgh.partial", ".m.abcdefgh.txt", ".n.abcdefgh.partial")]
    for other in others:
        other.mkdir()
    with locked(tmp_path / "m"):
        assert not left.exists(), "what a killed run left is swept away"
        for other in others:
            other.rmdir()  # another run's stays
        with pytest.raises(BusyError, match="another process"), locked(tmp_path / "m"):
            pass
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "m"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_broken_loss_keeps_the_last_finished_epoch(features: Path, tmp_path: Path) -> None:
    # A rate so high that the weights overflow after a few steps.
    with pytest.raises(SettingError, match=r"not finite at epoch \d+, step \d+;.*lower learning rate"):
        go(features, tmp_path / "m", "learning_rate=1e38", options=Options(seed=5, epochs=9))
    if (tmp_path / "m").exists():
        assert len(lines(tmp_path / "m")) == read_state(tmp_path / "m" / STATE).facts["position"]["epoch"]


def test_weights_spoilt_by_an_epochs_last_step_are_not_kept(features: Path, tmp_path: Path) -> None:
    """One step an epoch: the loss is fine, and what the step makes of the weights is not."""
    with pytest.raises(SettingError, match="not finite at epoch 1, step 1"):
        go(features, tmp_path / "m", "learning_rate=1e39", "batch_frames=1000", "warmup_steps=0")
    assert not (tmp_path / "m").exists()


def test_a_link_to_a_folder_stays_one(features: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "m").symlink_to("disk")
    for overwrite in (False, True):
        go(features, tmp_path / "m", options=Options(seed=5, epochs=1), overwrite=overwrite)
        assert (tmp_path / "m").is_symlink()
        assert (tmp_path / "disk" / STATE).is_file()
        assert {path.name for path in tmp_path.iterdir()} == {"disk", "m"}


def test_folders_that_cannot_be_exchanged_are_refused_at_once(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", str(tmp_path), "../" + tmp_path.name):
        with pytest.raises(OutputError, match="is the folder you are in"):
            go(features, Path(name))
    with pytest.raises(OutputError, match="is a mount point"):
        check_folder(Path("/proc"), True, False)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_of_the_folder_and_not_of_its_parts(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(features, tmp_path / "m", options=Options(seed=5, epochs=1))
    before = {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}

    def full(path: Path, state: object) -> None:
        raise writing_failed(path, OSError(errno.ENOSPC, "No space left on device"), "kept", needed=4321)

    monkeypatch.setattr("vgeo.training.folder.write_state", full)
    with pytest.raises(DiskError, match=r"make room, run again$"):
        go(features, tmp_path / "n")
    said = r"/m: not written, no space left on device \(4321 bytes needed, \d+ free\); make room.*--resume"
    with pytest.raises(DiskError, match=said) as caught:
        go(features, tmp_path / "m", resume=True)
    assert ".partial" not in str(caught.value)
    assert {path: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_interrupt_keeps_the_finished_epochs(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vgeo")
    calls = []
    inner = run_module.Loop._step

    def step(self, *args):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 8:  # in the middle of an epoch, four steps each
            raise KeyboardInterrupt
        return inner(self, *args)

    monkeypatch.setattr(run_module.Loop, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        go(features, tmp_path / "m", eval_every=1)
    epochs = len(lines(tmp_path / "m"))
    assert epochs >= 1
    assert f"keeps {epochs} epochs; --resume" in caplog.text
    monkeypatch.undo()
    go(features, tmp_path / "m", eval_every=1, resume=True)
    go(features, tmp_path / "n", eval_every=1)
    for name in ("last/model.safetensors", "model.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "n" / name).read_bytes()


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
import vgeo.training.run as run
run._WRITE_EVERY_S = run._REST = 0  # every epoch is written
from vgeo.cli import run
sys.exit(run(sys.argv[1:]))
"""


def start(features: Path, out: Path, *more: str, settings: Sequence[str] = SMALL) -> "subprocess.Popen[str]":
    words = ["train", str(features), "--out", str(out), "--seed", "5", "--epochs", "300", "--eval-every", "1", *more]
    words += [word for setting in settings for word in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words], stderr=subprocess.PIPE, text=True, env=environment, cwd=out.parent
    )


def wait_for_epochs(process: "subprocess.Popen[str]", epochs: int) -> None:
    """Read the log until so many epochs are said."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        epochs -= "contrastive" in line
        if epochs <= 0:
            return
    raise AssertionError("".join(seen))


def test_a_kill_leaves_a_whole_folder_and_nothing_is_lost_but_time(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    process = start(features, out)
    for delay in (0.0, 0.013):
        wait_for_epochs(process, 8)
        time.sleep(delay)
        process.kill()
        process.wait()
        state = read_state(out / STATE)
        assert len(lines(out)) == state.facts["position"]["epoch"]
        assert worlds.same(load_file(out / "last/model.safetensors"), state.model)
        load_model(out)
        load_model(out / "last")
        process = start(features, out, "--resume")
    wait_for_epochs(process, 8)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "Traceback" not in rest
    epochs = len(lines(out))
    assert f"keeps {epochs} epochs" in rest
    torch.set_num_threads(1)
    go(features, tmp_path / "n", options=Options(seed=5, epochs=epochs), eval_every=1)
    assert [line["loss"] for line in lines(out)] == [line["loss"] for line in lines(tmp_path / "n")]
    for name in ("last/model.safetensors", "model.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "n" / name).read_bytes(), name


def test_of_equal_medians_the_one_with_more_hits_is_better() -> None:
    """Among cities the median is 0 km as soon as half of the frames are right."""

    def measured(median_km: float, share: float) -> dict:
        return {"median_error_km": median_km, "within": {"0.5": share, "25": 1.0}, "frames": 9}

    best = run_module.Best(0, 3, measured(0.0, 0.6))
    assert run_module._improves(best, 0, measured(0.0, 0.7))
    assert not run_module._improves(best, 0, measured(0.0, 0.6)) and not run_module._improves(
        best, 0, measured(0.1, 0.9)
    )
    assert not run_module._improves(best, 0, None) and run_module._improves(best, 1, None)


VIDTAG = (
    "init=scratch", "encoders=gist", "feature_dims=8", "heads=2", "feedforward=16", "mlp_widths=16", "embed_dim=16",
    "sigmas=1,1024", "fourier=8", "location_width=16", "location_depth=1", "batch_clips=4", "clip_frames=6",
    "warmup_steps=3", "dropout=0.1", "learning_rate=3e-3", "refine_learning_rate=3e-3",
)  # fmt: skip


def within(out: Path, phase: int) -> bool:
    """Whether what is kept stands within that phase."""
    if not (out / STATE).exists():
        return False
    position = read_state(out / STATE).facts["position"]
    return position["phase"] == phase and 0 < position["epoch"] < 14


def seen_within(out: Path, phase: int) -> bool:
    """As `within`, while the run goes on: the file may be exchanged for a new one between its size and its tensors."""
    try:
        return within(out, phase)
    except FormatError:
        return False


def test_a_kill_in_either_phase_of_vidtag_is_made_good_bit_by_bit(features: Path, tmp_path: Path) -> None:
    """Dropout and the noise of phase II included, and the switch between the phases."""
    out = tmp_path / "m"
    words = ("--method", "vidtag", "--epochs", "16", "--device", "cpu")
    process = start(features, out, *words, settings=VIDTAG)
    for phase, number in (("align", 0), ("refine", 1)):
        while process.poll() is None and not seen_within(out, number):
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert within(out, number), f"not killed in {phase}"
        load_model(out)
        process = start(features, out, *words, "--resume", settings=VIDTAG)
    assert process.stderr is not None
    rest = process.stderr.read()
    assert process.wait() == 0, rest
    straight = tmp_path / "straight"
    torch.set_num_threads(1)
    train(
        [features], "vidtag", straight, settings=VIDTAG, options=Options(seed=5, epochs=16), eval_every=1,
        compute=choose("cpu"),
    )  # fmt: skip
    for name in ("last/model.safetensors", "model.safetensors", "last/config.json", str(STATE)):
        assert (out / name).read_bytes() == (straight / name).read_bytes(), name
    assert [{**line, "seconds": 0} for line in lines(out)] == [{**line, "seconds": 0} for line in lines(straight)]
