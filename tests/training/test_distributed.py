"""Several processes: their gradients and weights are those of one on the joined batch, and they end together."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import worlds
from safetensors.torch import load_file, save_file
from torch import Tensor
from worlds import Tiny, TinyConfig

from vgeo import logs
from vgeo.device import Compute
from vgeo.errors import SettingError
from vgeo.formats.features import FeatureFile
from vgeo.layers.ranks import gather_rows, own_rows, rank, world_size
from vgeo.methods.base import Method
from vgeo.methods.cityguessr import CityGuessr
from vgeo.methods.geoclip import GeoClip
from vgeo.methods.vidtag import VidTag
from vgeo.stages.train import TrainResult, train
from vgeo.training.data import usable_frames
from vgeo.training.distributed import agreed, check_same, joined, undisturbed
from vgeo.training.loop import Loop, Options, _Epoch
from vgeo.training.meter import Meter
from vgeo.training.store import FeatureStore
from vgeo.training.truth import ClipTruth

CPU = Compute(torch.device("cpu"), torch.float32)


def geoclip(**changes: object) -> Method:
    config = GeoClip.debug_config()
    return GeoClip(type(config)(**_of(config) | {"encoder": "gist", "feature_dim": 8} | changes))


def vidtag(**changes: object) -> Method:
    config = VidTag.debug_config()
    return VidTag(type(config)(**_of(config) | {"encoders": ("gist",), "feature_dims": (8,)} | changes))


def _of(config: object) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__slots__}  # type: ignore[attr-defined]


def cityguessr(**changes: object) -> CityGuessr:
    made = CityGuessr(replace(CityGuessr.debug_config(), feature_dim=8, rows=3, **changes))  # type: ignore[arg-type]
    up = (torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1]))
    made.adopt(up, torch.randn(5, 24, generator=torch.Generator().manual_seed(7)))
    return made


# name -> method, phase, options. 16 clips of 200 frames: steps of 5 of them in batches of 7, of 29 in batches of 33,
# which two processes fill up. What draws noise takes batches that two share evenly: there the draws are one process's.
CASES: dict[str, tuple[Callable[[], Method], str, Options]] = {
    "tiny": (lambda: Tiny(TinyConfig(noise=0.1)), "body", Options(batch_size=8)),
    "tiny, filled up": (lambda: Tiny(TinyConfig(clip_frames=9)), "body", Options(batch_size=7)),
    "tiny, pieces": (lambda: Tiny(TinyConfig(clip_frames=9)), "head", Options(batch_size=8, accumulate=3)),
    "geoclip": (geoclip, "contrastive", Options(batch_size=33)),
    "geoclip, noise": (
        lambda: geoclip(gps_noise_m=50.0, positives="equal", symmetric=True), "contrastive", Options(batch_size=20),
    ),
    "geoclip, soft": (lambda: geoclip(target_radius_km=0.1), "contrastive", Options(batch_size=28, accumulate=2)),
    "vidtag, align": (lambda: vidtag(symmetric=True), "align", Options(batch_size=7)),
    "vidtag, refine": (lambda: vidtag(collapse=0.5, outliers=0.3), "refine", Options(batch_size=8)),
    "cityguessr": (cityguessr, "classify", Options(batch_size=7)),
    "cityguessr, pieces": (lambda: cityguessr(scenes="majority"), "classify", Options(batch_size=16, accumulate=3)),
    "cityguessr, means": (lambda: cityguessr(tla_reduction="mean"), "classify", Options(batch_size=8)),
    "vidtag, means": (
        lambda: vidtag(video_level="mean", negatives_beyond_km=1.0), "refine", Options(batch_size=8, accumulate=2),
    ),
}  # fmt: skip


def truth(clips: int) -> ClipTruth:
    """Classes and scenes, of which some are not known."""
    rng = np.random.default_rng(0)
    city = rng.integers(0, 5, clips)
    classes = np.stack([city, city * 4 // 5, city * 3 // 5, city * 2 // 5], -1)
    classes[2, 1], classes[9] = -1, -1
    scenes = rng.dirichlet(np.ones(16), clips).astype(np.float32)
    scenes[[1, 9]] = 0
    return ClipTruth(classes, scenes)


def gradients(features: Path, case: str) -> dict[str, Tensor]:
    """Every parameter's gradient in one step of the loop, and the loss that it says."""
    torch.manual_seed(0)
    make, phase, options = CASES[case]
    method = make()
    file = FeatureFile.open(features)
    store = FeatureStore([file], usable_frames([file]), ["gist"], CPU, truth=truth(len(file.video_ids)))
    loop = Loop(method, store, options, CPU)
    loop.method.begin(phase)
    loop.method.train()
    recipe = options.recipe(method, phase)
    loop._requires_grad = {name: p.requires_grad for name, p in method.named_parameters()}
    loop.optimizer = torch.optim.Adam(loop._parameters(phase), lr=0.0)
    plan = loop._plan(recipe, 0, 0)
    meter = Meter(CPU.device)
    loop._step(
        _Epoch(phase, plan, *store.plan(plan), recipe.windows is not None, torch.Generator().manual_seed(1), meter),
        0,
        0.0,
    )
    found = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
    return found | {"loss": torch.tensor(meter.read(force=True))}


def worker(number: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    try:
        _check_ranks(number)
        for i, case in enumerate(CASES):
            save_file(gradients(folder / "f.h5", case), folder / f"{i}-{number}.safetensors")
        found = go(folder, "two")
        said = [found.epochs, found.best_epoch, found.median_error_km]
        (folder / f"result-{number}.json").write_text(json.dumps(said))
        dist.barrier()
    finally:
        dist.destroy_process_group()
    # All is written, and compared by the tests. Two times in some fourteen, PyTorch's own threads aborted the process
    # while the interpreter was taken down ("terminate called without an active exception").
    os._exit(0)


def _check_ranks(number: int) -> None:
    """What the functions of layers/ranks.py say in two processes, against what is written out here."""
    assert (rank(), world_size()) == (number, 2)
    rows = (torch.arange(4.0).reshape(2, 2) + 10 * number).requires_grad_()
    joined = gather_rows(rows)
    assert joined.tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]
    assert torch.equal(own_rows(joined), rows)
    weight = torch.arange(8.0).reshape(4, 2) * (number + 1)  # the two losses weigh it once and twice
    (joined * weight).sum().backward()
    assert rows.grad is not None
    assert torch.equal(rows.grad, 3 * torch.arange(8.0).reshape(4, 2)[2 * number : 2 * number + 2])
    assert gather_rows(torch.tensor([True, number == 0])).tolist() == [True, True, True, False]
    assert int(gather_rows(torch.tensor(number + 1)[None]).sum()) == 3
    assert agreed([0.5 + number, float("inf")], CPU.device) == [0.5, float("inf")]
    check_same({"a": 1}, CPU.device)
    with pytest.raises(SettingError, match="different settings or data"):
        check_same({"a": number}, CPU.device)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features and with the gradients that two processes find."""
    folder = tmp_path_factory.mktemp("together")
    worlds.write_features(folder / "f.h5", 16)
    mp.spawn(worker, (folder,), 2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradients_of_one(together: Path, case: str) -> None:
    torch.set_num_threads(1)
    alone = gradients(together / "f.h5", case)
    number = list(CASES).index(case)
    first, second = (load_file(together / f"{number}-{r}.safetensors") for r in range(2))
    assert first.keys() == alone.keys()
    assert worlds.same(first, second)
    largest = max(float(value.abs().max()) for name, value in alone.items() if name != "loss")
    assert largest > 1e-4
    for name in alone:
        assert torch.allclose(first[name], alone[name], rtol=1e-5, atol=1e-6 * max(1.0, largest)), name


def settings() -> list[str]:
    """A small GeoCLIP, with a queue that takes more than one process's part of a batch."""
    values = {name: value for name, value in _of(GeoClip.debug_config()).items() if name != "batch_frames"}
    values |= {"encoder": "gist", "feature_dim": 8, "batch_frames": 40, "sigmas": "1,256", "queue": 50}
    return [f"{name}={str(value).lower()}" for name, value in values.items()]


def go(folder: Path, out: str) -> TrainResult:
    return train([folder / "f.h5"], out=folder / out, settings=settings(), compute=CPU, eval_every=1)


def same_run(one: Path, two: Path) -> None:
    a, b = (load_file(folder / "last/model.safetensors") for folder in (one, two))
    for name in a:
        assert torch.allclose(a[name], b[name], atol=1e-5), name
    first, second = ([json.loads(line) for line in (folder / "metrics.jsonl").open()] for folder in (one, two))
    assert [line["loss"] for line in first] == pytest.approx([line["loss"] for line in second], rel=1e-5)


def test_a_run_of_two_processes_is_the_run_of_one(together: Path) -> None:
    alone = go(together, "one")
    same_run(together / "one", together / "two")
    said = [json.loads((together / f"result-{number}.json").read_text()) for number in range(2)]
    assert said[0] == said[1], "the other process returns what the first one measured"
    assert said[0] == [2, alone.best_epoch, pytest.approx(alone.median_error_km, rel=1e-4)]


def test_a_polite_kill_waits_for_the_write() -> None:
    seen: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("killed"))
    try:
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            seen.append("written")
        assert seen == ["written", "killed"]
        with undisturbed():
            pass
        assert seen == ["written", "killed"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_only_the_first_process_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("vgeo")
    before = logger.level, logger.propagate, list(logger.handlers)
    monkeypatch.setenv("WORLD_SIZE", "2")
    try:
        for number, level in (("0", logging.INFO), ("1", logging.ERROR)):
            monkeypatch.setenv("RANK", number)
            logs.configure(0)
            assert logger.level == level
    finally:
        logger.setLevel(before[0])
        logger.propagate, logger.handlers[:] = before[1:]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "do not meet .*MASTER_ADDR"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "device": "cuda:1"}, "gives each process its own"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "device": "cuda"}, "0 CUDA devices here.*--device cpu"),
    ],
)
def test_processes_that_cannot_meet_say_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    device = torch.device(environment.pop("device", "cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=words), joined(Compute(device, torch.float32)):
        pass


def test_alone_nothing_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in ({}, {"WORLD_SIZE": "4"}, {"WORLD_SIZE": "1", "RANK": "0"}):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with joined(CPU) as compute:
            assert compute is CPU
            assert world_size() == 1


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vgeo"]


def start(folder: Path, out: str, *more: str) -> "subprocess.Popen[str]":
    words = ["train", str(folder / "f.h5"), "--out", str(folder / out), "--device", "cpu", "--precision", "fp32"]
    words += [word for setting in settings() for word in ("--set", setting)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*TORCHRUN, *words, *more], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_torchrun_trains_and_tells_once(together: Path) -> None:
    process = start(together, "torchrun", "--eval-every", "1")
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert out == ""
    assert said.count("2 processes share each batch") == said.count("contrastive 2/2") == 1
    go(together, "alone")
    same_run(together / "alone", together / "torchrun")


@pytest.mark.slow
def test_what_all_processes_find_is_said_once(together: Path) -> None:
    process = start(together, "wrong", "--set", "epoch=3")
    _, said = process.communicate()
    assert process.returncode != 0
    assert said.count("no setting 'epoch'") == 1
    assert not (together / "wrong").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["another is killed", "interrupt"])
def test_a_stopped_run_goes_on_with_as_many_processes(together: Path, how: str) -> None:
    out = how.replace(" ", "-")
    process = start(together, out, "--epochs", "2000", "--eval-every", "1")
    assert process.stderr is not None
    for line in process.stderr:
        if "contrastive 20/" in line:
            break
    began = time.monotonic()
    if how == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        os.kill(_children(process.pid)[1], signal.SIGKILL)
    said = process.stderr.read()
    assert process.wait() != 0
    assert time.monotonic() - began < 60, "the others do not wait for ever"
    assert "internal error" not in said
    assert "Traceback" not in said.partition("torch/distributed")[0]
    kept = len((together / out / "metrics.jsonl").read_text().splitlines())
    assert kept >= 20
    resumed = start(together, out, "--epochs", str(kept + 3), "--eval-every", "1", "--resume")
    assert resumed.wait() == 0
    straight = start(together, out + "-straight", "--epochs", str(kept + 3), "--eval-every", "1")
    assert straight.wait() == 0
    for name in ("last/model.safetensors", "model.safetensors"):
        assert (together / out / name).read_bytes() == (together / f"{out}-straight" / name).read_bytes()
    with pytest.raises(SettingError, match="processes 2, now 1"):
        train([together / "f.h5"], out=together / out, settings=settings(), compute=CPU, resume=True)


def _children(pid: int) -> list[int]:
    """Processes that a process started, in order."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return sorted(int(word) for word in text.split())
