"""Pictures of a plan: which ones come, with which pixels, in which order, and how decoding ends."""

import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision.transforms import Resize

from vgeo.device import Compute
from vgeo.errors import FormatError, InputError
from vgeo.methods.base import Clips, Recipe
from vgeo.training import decoding, frame_store
from vgeo.training.data import Frames, Usable, usable_frames
from vgeo.training.frame_set import FrameSet
from vgeo.training.frame_store import FrameStore
from vgeo.training.loop import Loop, Options
from vgeo.training.sampling import Plan, own_part, plan_epoch
from vgeo.training.truth import ClipTruth

CPU = Compute(torch.device("cpu"), torch.float32)
SIZE = 8
ANY = Usable(lambda file: np.ones(len(file.latlon_deg), bool), "is a row", "")
Make = Callable[..., FrameStore]


def colour(number: int) -> tuple[int, int, int]:
    return number % 256, 7 * number % 256, 255 - number % 256


def write_set(folder: Path, lengths: list[int], first: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> FrameSet:
    """Clips of pictures of one colour each, the colour being the number of the picture."""
    number = first
    for clip, length in enumerate(lengths):
        (folder / f"c{clip}").mkdir(parents=True)
        for i in range(length):
            Image.new("RGB", size, colour(number)).save(folder / f"c{clip}" / f"{i}.png")
            number += 1
    return FrameSet(
        path=folder,
        video_ids=[f"{folder.name}-c{clip}" for clip in range(len(lengths))],
        first_row=np.cumsum([0, *lengths]),
        latlon_deg=np.arange(2.0 * sum(lengths)).reshape(-1, 2) / 10,
        spacing_s=None,
        labels={},
        folders=[str(folder / f"c{clip}") for clip in range(len(lengths))],
        names=[tuple(f"{i}.png" for i in range(length)) for length in lengths],
    )


@pytest.fixture
def make() -> Iterator[Make]:
    """Make stores that are closed at the end."""
    made: list[FrameStore] = []

    def store(*sets: FrameSet, frames: Frames | None = None, **options: object) -> FrameStore:
        options = {"resident": False, "workers": 3} | options
        made.append(FrameStore(sets, frames or usable_frames(sets, ANY), (SIZE, SIZE), CPU, **options))  # type: ignore[arg-type]
        return made[-1]

    yield store
    for one in made:
        one.close()


def numbers(pixels: Tensor) -> Tensor:
    """Which pictures these are, all of whose pixels are of one colour."""
    flat = pixels.flatten(-3, -2)
    assert (flat == flat[..., :1, :]).all()
    return flat[..., 0, 0].long()


def pieces_of(plan: Plan, accumulate: int = 1) -> list[slice]:
    return [piece for step in range(plan.steps) for piece in plan.pieces(step, accumulate)]


def watched(store: FrameStore, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each batch that is decoded from now on: was it asked for before it was planned?"""
    urgent: list[bool] = []
    inner = store._ahead._decoders.submit

    def submit(job: decoding.Job, late: bool = False, **named: bool) -> None:
        urgent.append(late or named.get("urgent", False))
        inner(job, late, **named)

    monkeypatch.setattr(store._ahead._decoders, "submit", submit)
    return urgent


@pytest.mark.parametrize("kind", ["large", "small", "as is", "tall", "grey", "turned", "png with alpha"])
def test_pixels_are_those_of_the_published_loader(tmp_path: Path, make: Make, kind: str) -> None:
    rng = np.random.default_rng(0)
    shape = {"small": (5, 6, 3), "as is": (SIZE, SIZE, 3), "tall": (90, 20, 3)}.get(kind, (48, 64, 3))
    smooth = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    one = write_set(tmp_path / "a", [1])
    path = one.picture(0)
    exif = Image.Exif()
    if kind == "grey":
        smooth = smooth.convert("L")
    elif kind == "turned":
        exif[0x0112] = 6  # shown turned clockwise
    elif kind == "png with alpha":
        smooth.putalpha(Image.fromarray(rng.integers(0, 256, shape[:2], dtype=np.uint8)))
    smooth.save(path, "PNG" if "png" in kind or kind == "as is" else "JPEG", exif=exif)
    stored = Image.open(path).convert("RGB")
    upright = stored.transpose(Image.Transpose.ROTATE_270) if kind == "turned" else stored
    expected = np.asarray(Resize((SIZE, SIZE))(upright)).astype(int)
    found = make(one).batch(torch.tensor([[0]]), torch.tensor([[True]])).frames_BTHWC
    assert found is not None
    assert (found.shape, found.dtype) == ((1, 1, SIZE, SIZE, 3), torch.uint8)
    difference = np.abs(found[0, 0].numpy().astype(int) - expected)
    assert difference.max() <= (0 if kind == "as is" else 1)
    assert difference.mean() < 0.2


def test_photographs_differ_by_a_grey_level_in_a_hundredth_of_the_values(shared_dir: Path, tmp_path: Path) -> None:
    pictures = sorted((shared_dir / "data/global-streetscapes-sample/images").glob("*.jp*g"))[:4]
    one = FrameSet(
        path=tmp_path, video_ids=["a"], first_row=np.array([0, 4]), latlon_deg=np.full((4, 2), np.nan), labels={},
        spacing_s=None, folders=[str(pictures[0].parent)], names=[tuple(path.name for path in pictures)],
    )  # fmt: skip
    with FrameStore([one], usable_frames([one], ANY), (224, 224), CPU, resident=False) as store:
        found = store.batch(torch.arange(4)[None], torch.ones(1, 4, dtype=torch.bool)).frames_BTHWC
    assert found is not None
    expected = np.stack([np.asarray(Resize((224, 224))(Image.open(path).convert("RGB"))) for path in pictures])
    difference = np.abs(found[0].numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_epoch_comes_in_its_order_and_ahead_of_the_step(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    lengths = [3, 9, 1, 5, 4, 12, 2, 6, 7, 5, 3]
    store = make(one := write_set(tmp_path / "a", lengths))
    urgent = watched(store, monkeypatch)
    assert len(one) == sum(lengths)
    for epoch in range(2):
        plan = plan_epoch(store.frames.clip_first, 4, 3, np.random.default_rng(epoch))
        pieces = pieces_of(plan, accumulate)
        frame_IT, mask_IT = store.plan(plan, pieces)
        for piece in pieces:
            clips = store.batch(frame_IT[piece], mask_IT[piece])
            assert clips.frames_BTHWC is not None and clips.latlon_deg is not None
            assert numbers(clips.frames_BTHWC).tolist() == plan.frame_IT[piece].tolist()
            assert torch.equal(clips.mask_BT, torch.from_numpy(plan.mask_IT[piece]))
            assert np.array_equal(clips.latlon_deg.numpy(), one.latlon_deg[plan.frame_IT[piece]])
    assert urgent == [False] * (2 * len(pieces)), "every batch once, each before it was asked for"


def test_single_frames_and_repeated_ones(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(write_set(tmp_path / "a", [3, 2]))
    read: list[int] = []
    inner = store._ahead._decoders._read
    monkeypatch.setattr(store._ahead._decoders, "_read", lambda frame: read.append(frame) or inner(frame))
    frame_BT = torch.tensor([[2, 2, 2, 2], [3, 4, 4, 2]])
    found = store.batch(frame_BT, torch.ones(2, 4, dtype=torch.bool)).frames_BTHWC
    assert found is not None
    assert numbers(found).tolist() == frame_BT.tolist()
    assert sorted(read) == [2, 3, 4], "each picture is decoded once a batch"
    plan = plan_epoch(store.frames.clip_first, None, 2, np.random.default_rng(0))
    frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
    seen = [store.batch(frame_IT[piece], mask_IT[piece]).frames_BTHWC for piece in pieces_of(plan)]
    assert torch.cat([numbers(pixels) for pixels in seen if pixels is not None]).tolist() == plan.frame_IT.tolist()


def test_rows_count_through_several_sets_and_left_out_ones(tmp_path: Path, make: Make) -> None:
    sets = [write_set(tmp_path / "a", [2, 3]), write_set(tmp_path / "b", [4, 1], first=5)]
    sets[0].latlon_deg[1] = np.nan
    sets[1].latlon_deg[:3] = np.nan
    store = make(*sets, frames=usable_frames(sets).of_clips(np.array([2, 0, 3])))
    assert store.frames.video_ids == ("b-c0", "a-c0", "b-c1")
    clips = store.batch(torch.tensor([[0, 1, 2]]), torch.ones(1, 3, dtype=torch.bool))
    assert clips.frames_BTHWC is not None
    assert numbers(clips.frames_BTHWC).tolist() == [[8, 0, 9]]


def test_each_item_has_the_truth_of_its_clip(tmp_path: Path, make: Make) -> None:
    truth = ClipTruth(np.array([[7, 1], [8, 1], [9, -1]]), np.eye(3, dtype=np.float32))
    store = make(write_set(tmp_path / "a", [2, 3, 1]), truth=truth)
    clips = store.batch(
        torch.tensor([[5, 5], [0, 1], [3, 4]]), torch.tensor([[True, False], [True, True], [True, True]])
    )
    assert clips.truth is not None and clips.truth.scene_BP is not None
    assert clips.truth.class_BL.tolist() == [[9, -1], [7, 1], [8, 1]]
    assert clips.truth.scene_BP.argmax(1).tolist() == [2, 0, 1]
    assert make(store._sets[0]).batch(torch.tensor([[0]]), torch.tensor([[True]])).truth is None


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_decode_their_parts_and_no_more(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """As the loop asks for them: short parts are filled up, with black pictures that nobody decodes."""
    one = write_set(tmp_path / "a", [3, 5, 2, 4, 6, 3, 3])
    recipe = Recipe(epochs=1, batch_clips=3, clip_frames=2, learning_rate=0.1, decay_per_epoch=1, warmup_steps=1)
    monkeypatch.setattr("vgeo.training.loop.world_size", lambda: 2)
    seen: dict[int, list[Clips]] = {}
    for number in range(2):
        monkeypatch.setattr("vgeo.training.loop.rank", lambda number=number: number)
        store = make(one)
        loop = Loop(None, store, Options(accumulate=accumulate), CPU)  # type: ignore[arg-type]
        plan = loop._plan(recipe, 0, 0)
        urgent = watched(store, monkeypatch)
        frame_IT, mask_IT = store.plan(plan, loop._own_pieces(plan))
        seen[number] = []
        for piece in pieces_of(plan, accumulate):
            own, missing = own_part(piece, number, 2)
            padded = (F.pad(values[own], (0, 0, 0, missing)) for values in (frame_IT, mask_IT))
            seen[number].append(store.batch(*padded))
        assert not any(urgent), "also an empty part counts"
    for piece, first, second in zip(pieces_of(plan, accumulate), *seen.values(), strict=True):
        assert first.frames_BTHWC is not None and second.frames_BTHWC is not None
        assert first.frames_BTHWC.shape == second.frames_BTHWC.shape, "tensors have one shape in all"
        joined = torch.cat([first.frames_BTHWC, second.frames_BTHWC])
        items = piece.stop - piece.start
        assert numbers(joined[:items]).tolist() == plan.frame_IT[piece].tolist()
        assert not joined[items:].any()
        assert not torch.cat([first.mask_BT, second.mask_BT])[items:].any()


def test_what_the_loop_asks_for_was_decoded_ahead(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(write_set(tmp_path / "a", [3, 5, 2, 4, 6]))
    urgent = watched(store, monkeypatch)
    total = 0.0

    class Mean(torch.nn.Module):
        phases = ("all",)

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def recipe(self, phase: str) -> Recipe:
            return Recipe(epochs=2, batch_clips=2, clip_frames=3, learning_rate=0.1, decay_per_epoch=1, warmup_steps=1)

        def begin(self, phase: str) -> None: ...

        def trainable(self, phase: str) -> list[torch.nn.Parameter]:
            return [self.weight]

        def rate_factor(self, name: str) -> float:
            return 1.0

        def loss(self, clips: Clips, phase: str, generator: torch.Generator) -> dict[str, Tensor]:
            nonlocal total
            assert clips.frames_BTHWC is not None
            total += float(numbers(clips.frames_BTHWC)[clips.mask_BT].sum())
            return {"total": self.weight * clips.frames_BTHWC.float().mean()}

    list(Loop(Mean(), store, Options(accumulate=2), CPU).run())  # type: ignore[arg-type]
    assert urgent == [False] * 2 * 5
    assert total > 0


def test_a_batch_without_a_plan_or_against_it_is_decoded_all_the_same(tmp_path: Path, make: Make) -> None:
    store = make(write_set(tmp_path / "a", [4, 4, 4, 4]))
    plan = plan_epoch(store.frames.clip_first, 2, 1, np.random.default_rng(0))
    frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
    other = store.batch(torch.tensor([[15, 0]]), torch.ones(1, 2, dtype=torch.bool)).frames_BTHWC
    assert other is not None
    assert numbers(other).tolist() == [[15, 0]]
    for piece in pieces_of(plan):
        found = store.batch(frame_IT[piece], mask_IT[piece]).frames_BTHWC
        assert found is not None
        assert numbers(found).tolist() == plan.frame_IT[piece].tolist()


@pytest.mark.parametrize(("resident", "times"), [(True, 1), (None, 1), (False, 3)])
def test_what_fits_into_memory_is_decoded_once(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, resident: bool | None, times: int,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    store = make(write_set(tmp_path / "a", [4, 4]), resident=resident, workers=1)
    opened: list[str] = []
    inner = frame_store.read_image
    monkeypatch.setattr(frame_store, "read_image", lambda path, shape: opened.append(str(path)) or inner(path, shape))
    for _ in range(3):
        found = store.batch(torch.arange(8)[None], torch.ones(1, 8, dtype=torch.bool)).frames_BTHWC
        assert found is not None
        assert numbers(found).tolist() == [list(range(8))]
    assert sorted(opened) == sorted([str(store._sets[0].picture(row)) for row in range(8)] * times)
    said = [record.message for record in caplog.records if "pictures" in record.message]
    assert len(said) == (resident is None)


def test_as_much_as_a_quarter_of_the_memory_is_kept(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(frame_store, "free_bytes", lambda device: 4 * 5 * SIZE * SIZE * 3 + 3)
    store = make(write_set(tmp_path / "a", [4, 4]), resident=None, workers=1)
    store.batch(torch.arange(8)[None], torch.ones(1, 8, dtype=torch.bool))
    assert len(store._pictures._kept) == 5
    assert "8 pictures of 8 x 8" in caplog.text and "others are decoded anew" in caplog.text
    found = store.batch(torch.arange(8)[None], torch.ones(1, 8, dtype=torch.bool)).frames_BTHWC
    assert found is not None
    assert numbers(found).tolist() == [list(range(8))]


@pytest.mark.parametrize(
    ("harm", "error", "said"),
    [
        (Path.unlink, InputError, "no such picture"),
        (lambda path: path.write_bytes(b"no picture"), FormatError, "not a picture that can be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:50]), FormatError, "not a picture that can be read"),
        (lambda path: path.write_bytes(b""), FormatError, "not a picture that can be read"),
    ],
)
def test_a_missing_or_damaged_picture_is_named_when_its_batch_comes(
    tmp_path: Path, make: Make, harm: Callable[[Path], object], error: type[Exception], said: str
) -> None:
    store = make(write_set(tmp_path / "a", [3, 3, 3, 3, 3]))
    plan = plan_epoch(store.frames.clip_first, 3, 1, np.random.default_rng(0))
    bad = store._sets[0].picture(int(plan.frame_IT[2, 1]))
    harm(bad)
    frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
    for number, piece in enumerate(pieces_of(plan)):
        if number == 2:
            with pytest.raises(error) as caught:
                store.batch(frame_IT[piece], mask_IT[piece])
            text = str(caught.value)
            assert text.startswith(str(bad)) and said in text and "--resume" in text and "\n" not in text
        else:
            store.batch(frame_IT[piece], mask_IT[piece])


def test_looking_ahead_is_bounded(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(write_set(tmp_path / "a", [1] * 40))
    each = SIZE * SIZE * 3
    plan = plan_epoch(store.frames.clip_first, 1, 1, np.random.default_rng(0))
    for limit, expected in ((0, 2), (5 * each, 5), (10**9, 40)):
        monkeypatch.setattr(decoding, "_AHEAD_BYTES", limit)
        frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
        assert len(store._ahead._jobs) == expected
        store.batch(frame_IT[:1], mask_IT[:1])
        assert len(store._ahead._jobs) == min(expected, 39)


def slow(store: FrameStore, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    begun: list[int] = []
    inner = store._ahead._decoders._read

    def read(frame: int) -> np.ndarray:
        begun.append(frame)
        time.sleep(seconds)
        return inner(frame)

    monkeypatch.setattr(store._ahead._decoders, "_read", read)
    return begun


def test_the_wait_is_counted(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(write_set(tmp_path / "a", [4]), workers=1)
    slow(store, monkeypatch, 0.05)
    store.batch(torch.arange(4)[None], torch.ones(1, 4, dtype=torch.bool))
    assert 0.2 <= store.wait_s < 2


def test_closing_while_decoding_ends_the_threads_at_once(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(write_set(tmp_path / "a", [20, 20]), workers=2)
    begun = slow(store, monkeypatch, 0.1)
    plan = plan_epoch(store.frames.clip_first, 20, 1, np.random.default_rng(0))
    frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
    failed: list[Exception] = []

    def waits() -> None:
        try:
            store.batch(frame_IT[:1], mask_IT[:1])
        except ValueError as error:
            failed.append(error)

    waiting = threading.Thread(target=waits)
    waiting.start()
    while not begun:
        time.sleep(0.01)
    began = time.perf_counter()
    store.close()
    assert time.perf_counter() - began < 0.5, "40 pictures would take two seconds"
    waiting.join(2)
    assert len(failed) == 1
    assert not any(thread.is_alive() for thread in store._ahead._decoders._threads)
    store.close()
    with pytest.raises(ValueError, match="no longer"):
        store.batch(frame_IT[1:], mask_IT[1:])


def test_a_new_plan_drops_the_old_one(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(write_set(tmp_path / "a", [30, 30]), workers=1)
    begun = slow(store, monkeypatch, 0.02)
    for seed in range(2):
        plan = plan_epoch(store.frames.clip_first, 30, 1, np.random.default_rng(seed))
        frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
    found = store.batch(frame_IT[:1], mask_IT[:1]).frames_BTHWC
    assert found is not None
    assert numbers(found).tolist() == plan.frame_IT[:1].tolist()
    assert len(begun) < 30 + 5


def test_a_program_that_ends_does_not_wait_for_pictures(tmp_path: Path) -> None:
    """Neither after an exception nor where nobody closed the store."""
    write_set(tmp_path / "a", [50])
    script = f"""
import time, numpy as np, torch
from vgeo.device import Compute
from vgeo.stages.frame_sets import open_frames
from vgeo.training.data import Frames
from vgeo.training.frame_store import FrameStore
from vgeo.training.sampling import plan_epoch
one = open_frames([{str(tmp_path / "a")!r}])
frames = Frames(np.arange(50), one.latlon_deg, one.first_row, tuple(one.video_ids))
store = FrameStore([one], frames, (8, 8), Compute(torch.device("cpu"), torch.float32), workers=2)
inner = store._ahead._decoders._read
store._ahead._decoders._read = lambda frame: (time.sleep(1), inner(frame))[1]
plan = plan_epoch(one.first_row, 50, 1, np.random.default_rng(0))
store.plan(plan, [slice(0, 1)])
print(time.time(), flush=True)
raise SystemExit("out of memory, say")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert time.time() - float(done.stdout) < 5, "50 pictures would take 25 seconds"
    assert done.returncode == 1
    assert "out of memory, say" in done.stderr


def test_resizing_warns_of_nothing(tmp_path: Path, make: Make) -> None:
    store = make(write_set(tmp_path / "a", [2], size=(20, 30)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store._read(0)


@pytest.mark.gpu
def test_pictures_arrive_on_a_gpu_as_on_the_cpu(tmp_path: Path) -> None:
    """While the next ones are written into pinned memory that was used before."""
    one = write_set(tmp_path / "a", [9] * 12)
    frames = usable_frames([one], ANY)
    truth = ClipTruth(np.arange(12)[:, None])
    compute = Compute(torch.device("cuda"), torch.float32)
    with FrameStore([one], frames, (SIZE, SIZE), compute, truth, resident=False) as store:
        for epoch in range(20):
            plan = plan_epoch(frames.clip_first, 4, 2, np.random.default_rng(epoch))
            frame_IT, mask_IT = store.plan(plan, pieces_of(plan))
            for piece in pieces_of(plan):
                clips = store.batch(frame_IT[piece], mask_IT[piece])
                assert clips.frames_BTHWC is not None and clips.latlon_deg is not None and clips.truth is not None
                found = clips.frames_BTHWC.float().mean((2, 3))[..., 0].round().long()
                assert found.tolist() == plan.frame_IT[piece].tolist()
                assert clips.truth.class_BL[:, 0].tolist() == (plan.frame_IT[piece][:, 0] // 9).tolist()
                assert {t.device.type for t in (clips.mask_BT, clips.latlon_deg, clips.frames_BTHWC)} == {"cuda"}
