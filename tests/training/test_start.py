"""Where a run starts and what it says first: another model's weights, one phase alone, and warnings."""

import json
from pathlib import Path

import pytest
import torch
import worlds
from safetensors.torch import load_file

from vgeo.errors import FormatError, InputError, SettingError, UsageError
from vgeo.formats.checkpoints import read_model
from vgeo.methods.vidtag import VidTag
from vgeo.stages import train_prepare as preparing
from vgeo.stages.train import TrainResult, train
from vgeo.stages.train_start import _untrained
from vgeo.training.cautions import check_compiler
from vgeo.training.folder import STATE
from vgeo.training.loop import Options

SMALL = (
    "init=scratch", "encoders=gist", "feature_dims=8", "heads=2", "feedforward=16", "mlp_widths=16", "embed_dim=16",
    "sigmas=1,1024", "fourier=8", "location_width=16", "location_depth=1", "layers=1", "refiner_decoder_layers=1",
    "batch_clips=4", "clip_frames=6", "warmup_steps=2", "epochs=3", "refine_epochs=3",
    "learning_rate=3e-3", "refine_learning_rate=3e-3", "jitter_deg=1e-4,1e-3", "shift_deg=0.005",
)  # fmt: skip


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.write_features(tmp_path_factory.mktemp("start") / "f.h5", 12).path


@pytest.fixture(scope="module")
def aligned(features: Path) -> Path:
    """A model of phase align."""
    return go(features, features.parent / "aligned", phase="align").folder


def go(features: Path, out: Path, *settings: str, phase: str | None = None, **kwargs: object) -> TrainResult:
    start = kwargs.get("start")
    method = None if start else "vidtag"
    values = settings if start else (*SMALL, *settings)
    kwargs.setdefault("options", Options(seed=5, phase=phase))
    return train([features], method, out, settings=values, eval_every=1, **kwargs)  # type: ignore[arg-type]


def test_phase_by_phase_is_the_whole_run(features: Path, aligned: Path, tmp_path: Path) -> None:
    go(features, tmp_path / "both")
    go(features, tmp_path / "second", start=aligned / "last", phase="refine")
    both, second = (load_file(tmp_path / name / "last/model.safetensors") for name in ("both", "second"))
    assert worlds.same(both, second)
    assert bool(second["refining"]), "what the phase began with is kept with the weights"
    assert read_model(tmp_path / "second").extra["phase"] == "refine"
    first = load_file(aligned / "last/model.safetensors")
    assert not bool(first["refining"])
    assert {name for name in first if not torch.equal(first[name], second[name])} == {
        name for name in first if name.startswith("geo_refiner.")
    } | {"refining"}


def test_settings_are_the_models_unless_set(features: Path, aligned: Path, tmp_path: Path) -> None:
    go(features, tmp_path / "m", "alpha=100", "collapse=0", start=aligned, phase="refine")
    old, new = read_model(aligned).config, read_model(tmp_path / "m").config
    assert {name for name in old if old[name] != new[name]} == {"alpha", "collapse"}
    assert new["alpha"] == 100


def test_what_was_not_trained_yet_may_be_another(features: Path, aligned: Path, tmp_path: Path) -> None:
    go(features, tmp_path / "m", "refiner_on=embeddings", "refiner_decoder_layers=2", start=aligned, phase="refine")
    old, new = load_file(aligned / "model.safetensors"), load_file(tmp_path / "m/model.safetensors")
    for name in old:
        if not name.startswith("geo_refiner.") and name != "refining":
            assert torch.equal(old[name], new[name]), name


def test_another_architecture_is_said_in_one_line(features: Path, aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"mlp\.0\.bias is \(16,\), its settings ask for \(24,\)"):
        go(features, tmp_path / "m", "mlp_widths=24", start=aligned, phase="refine")
    done = go(features, tmp_path / "done", start=aligned, phase="refine").folder
    with pytest.raises(FormatError, match=r"geo_refiner\.\S+ is .*, its settings ask for"):
        go(features, tmp_path / "m", "refiner_decoder_layers=2", start=done, phase="refine")
    other = worlds.write_features(tmp_path / "other.h5", 12, weights_hash="other").path
    with pytest.raises(FormatError, match="gist features made otherwise"):
        go(other, tmp_path / "m", start=aligned, phase="refine")
    clip = worlds.write_features(tmp_path / "clip.h5", 12, name="clip").path  # as wide
    with pytest.raises(SettingError, match="was trained on features of gist, not of clip; leave out --set encoders"):
        go(clip, tmp_path / "m", "encoders=clip", start=aligned, phase="refine")
    with pytest.raises(UsageError, match="holds a model of vidtag, not of geoclip"):
        train([features], "geoclip", tmp_path / "m", start=aligned)
    assert not (tmp_path / "m").exists()


def test_features_that_are_not_there(features: Path, tmp_path: Path) -> None:
    for wanted in ("clip", "clip,dinov2", "gist,clip"):
        with pytest.raises(InputError, match=r"f\.h5: no features of clip.*, which vidtag reads; it holds gist"):
            train([features], "vidtag", tmp_path / "m", settings=["init=scratch", f"encoders={wanted}"])


def test_phase_two_needs_phase_one(features: Path, aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"refine needs a model whose phase align is trained: .* --from, or leave"):
        go(features, tmp_path / "m", phase="refine")
    with pytest.raises(SettingError, match="--phase rest: with these settings vidtag trains align, refine"):
        go(features, tmp_path / "m", phase="rest")
    with pytest.raises(SettingError, match="--phase refine: with these settings vidtag trains align"):
        go(features, tmp_path / "m", "geo_refiner=false", phase="refine")
    go(features, tmp_path / "m", "geo_refiner=false")
    assert read_model(tmp_path / "m").extra["phase"] == "align"
    assert go(features, tmp_path / "n", "geo_refiner=true", start=tmp_path / "m", phase="refine").epochs == 3


def test_a_start_is_part_of_what_is_resumed(features: Path, aligned: Path, tmp_path: Path) -> None:
    once = Options(seed=5, phase="refine", epochs=1)
    go(features, tmp_path / "m", start=aligned, options=once)
    with pytest.raises(SettingError, match=r"starts from \w+, now none"):
        go(features, tmp_path / "m", options=Options(seed=5), resume=True)
    with pytest.raises(SettingError, match=r"starts from \w+, now \w+"):
        other = go(features, tmp_path / "other", phase="align", options=Options(seed=6, phase="align")).folder
        go(features, tmp_path / "m", start=other, phase="refine", resume=True)
    with pytest.raises(SettingError, match="phase refine, now none"):
        go(features, tmp_path / "m", start=aligned, resume=True)
    go(features, tmp_path / "m", start=aligned, phase="refine", resume=True)
    go(features, tmp_path / "straight", start=aligned, phase="refine")
    assert (tmp_path / "m" / STATE).read_bytes() == (tmp_path / "straight" / STATE).read_bytes()


def test_keys_that_do_not_move_are_embedded_once(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, calls = preparing.gallery_keys, []
    monkeypatch.setattr(preparing, "gallery_keys", lambda *args: (calls.append(1), inner(*args))[1])
    cached = go(features, tmp_path / "m")
    assert len(calls) == 3 + 1, "at each of three validations of phase align, and once in refine"
    monkeypatch.setattr(VidTag, "moves_keys", lambda *_: True)
    again = go(features, tmp_path / "n")
    assert len(calls) == 4 + 6
    assert cached.median_error_km == again.median_error_km
    assert (tmp_path / "m" / STATE).read_bytes() == (tmp_path / "n" / STATE).read_bytes()


def test_warnings_come_once_before_training(features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def warned(path: Path, *settings: str) -> list[str]:
        caplog.clear()
        train([path], "vidtag", tmp_path / "m", settings=[*SMALL, *settings], val_fraction=0.0, overwrite=True)
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    # 12 clips of 5 to 16 frames, 4 a step: 9 steps a phase.
    assert warned(features) == [
        "1 of 12 clips have fewer than the 6 frames that are drawn from each; they are filled up and masked"
    ]
    assert warned(features, "clip_frames=5", "warmup_steps=4") == []
    said = warned(features, "clip_frames=5", "warmup_steps=50", "refine_epochs=40")
    assert said == ["50 warm-up steps, but phase align has 9: --set warmup_steps=0, or more --epochs"]
    single = worlds.write_features(tmp_path / "single.h5", {f"c{i}": 1 for i in range(12)}).path
    assert warned(single) == ["every clip has a single frame: what looks at their order and neighbours sees nothing"]


def test_compiling_needs_a_compiler(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingError, match="no-such-compiler is not here"):
        go(features, tmp_path / "m", options=Options(compile=True))


def test_what_a_later_phase_trains_further_is_taken_over() -> None:
    class Onwards(worlds.Tiny):
        def trainable(self, phase: str) -> list[torch.nn.Parameter]:
            return super().trainable(phase) if phase == "body" else list(self.parameters())

    assert _untrained(Onwards(worlds.TinyConfig()), ["head"]) == {"head"}  # the body was trained before
    assert _untrained(Onwards(worlds.TinyConfig()), []) == set()


def test_a_run_does_not_replace_what_it_starts_from(features: Path, aligned: Path) -> None:
    for start, out in ((aligned, aligned), (aligned / "last", aligned)):
        with pytest.raises(UsageError, match="lies in the folder that is written"):
            go(features, out, start=start, phase="refine", overwrite=True)
    assert (aligned / "last/model.safetensors").is_file()


def test_a_second_phase_that_made_it_worse_is_named(
    features: Path, aligned: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = go(features, tmp_path / "worse", "refine_learning_rate=0.9")  # spoils the second retrieval
    lines = [json.loads(line) for line in (found.folder / "metrics.jsonl").read_text().splitlines()]
    ended = {line["phase"]: line["validation"]["median_error_km"] for line in lines}
    assert found.median_error_km is not None and ended["align"] < found.median_error_km
    assert "align had ended at" in caplog.text and "best model of refine epoch" in caplog.text
    caplog.clear()
    go(features, tmp_path / "first", phase="align")
    assert "had ended" not in caplog.text
