"""Decoding in another process: the same frames, and whatever becomes of that process costs one clip."""

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from clipmaker import make_video, read_number

from vgeo.errors import FormatError, InputError
from vgeo.stages.extract_frames import extract_frames
from vgeo.video import children as module
from vgeo.video import isolated
from vgeo.video.children import CHILDREN, Child, Children, NoChildError
from vgeo.video.clips import find_clips, open_clip
from vgeo.video.isolated import IsolatedVideo
from vgeo.video.pixels import Shape
from vgeo.video.recording import VideoSource
from vgeo.video.sampling import Sampling

Maker = Callable[[str], Path]
WHOLE = Shape()


@pytest.fixture
def children() -> Iterator[Children]:
    """Processes of the test's own; those that it took and broke are ended by whoever took them."""
    mine = Children()
    yield mine
    mine.close()


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process that is not ours ends in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("name", ["plain.mp4", "vfr.mkv", "h264.avi", "turned_90.mp4", "cut_edit_list.mp4"])
def test_gives_what_decoding_here_gives(name: str, barcode_video: Maker) -> None:
    path = barcode_video(name)
    here, there = VideoSource(path, "pyav"), IsolatedVideo(path, "pyav")
    try:
        assert np.array_equal(here.time_s, there.time_s)
        assert (here.duration_s, here.declared, here.start_utc) == (there.duration_s, there.declared, there.start_utc)
        for shape in (WHOLE, Shape(40), Shape(24, square=True)):
            rows = list(range(0, len(here.time_s), 3))
            expected, got = list(here.images(rows, shape)), list(there.images(rows, shape))
            assert [row for row, _ in expected] == [row for row, _ in got]
            assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(expected, got, strict=True))
        assert here.remarks() == there.remarks()
        assert there.carried() == (None, "")
    finally:
        there.close()


def test_images_of_many_sizes_and_without_shared_memory(
    barcode_video: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "shared_memory", lambda: None)
    without = Children()
    large = make_video(tmp_path / "large.mp4", frames=5, size=(1920, 1080), options={"preset": "ultrafast"})
    for path in (barcode_video("plain.mp4"), large):
        video = IsolatedVideo(path, "pyav", without)
        images = [image for _, image in video.images([0, 2, 4], WHOLE)]
        video.close()
        expected = [image for _, image in VideoSource(path, "pyav").images([0, 2, 4], WHOLE)]
        assert all(np.array_equal(a, b) for a, b in zip(images, expected, strict=True))
    without.close()


def test_errors_come_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    with pytest.raises(FormatError, match=r"^page\.mp4: not a video"):
        IsolatedVideo(Path("page.mp4"), "pyav")
    with pytest.raises(InputError, match=r"^gone\.mp4: no such file"):
        IsolatedVideo(Path("gone.mp4"), "pyav")


def test_a_process_serves_clip_after_clip_and_nothing_is_left(barcode_video: Maker, children: Children) -> None:
    pids = set()
    before = 0
    for turn in range(50):
        video = IsolatedVideo(barcode_video("plain.mp4" if turn % 2 else "plain.mkv"), "pyav", children)
        pids.add(video._child.pid)
        assert len(list(video.images([0, 30], WHOLE))) == 2
        video.close()
        if turn == 1:
            gc.collect()  # else handles of earlier tests are closed in between
            before = handles()
    assert len(pids) == 1
    assert handles() == before


def test_broken_clips_leave_nothing(barcode_video: Maker, tmp_path: Path, children: Children) -> None:
    (tmp_path / "page.mp4").write_text("<html>not found</html>")
    list(IsolatedVideo(barcode_video("plain.mp4"), "pyav", children).images([0], WHOLE))
    before = handles()
    pids = []
    for _ in range(3):
        with pytest.raises(FormatError):
            IsolatedVideo(tmp_path / "page.mp4", "pyav", children)
        video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
        images = video.images(list(range(90)), WHOLE)
        next(images)
        pids.append(video._child.pid)
        del images, video  # left in the middle
    children.close()
    assert handles() < before
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_an_error_of_the_clip(number: signal.Signals, barcode_video: Maker, children: Children) -> None:
    path = barcode_video("plain.mp4")
    video = IsolatedVideo(path, "pyav", children)
    images = video.images(list(range(90)), WHOLE)
    seen = [read_number(next(images)[1])]
    os.kill(video._child.pid, number)
    with pytest.raises(FormatError, match=rf"decoding ended by signal {number:d} \(.*ffmpeg -i .*plain\.mp4") as caught:
        for _, image in images:
            seen.append(read_number(image))  # kept when the next raises
    assert seen == list(range(len(seen))), "frames before the crash are delivered"
    assert f"after {len(seen)} of 90 wanted frames" in str(caught.value)
    assert "\n" not in str(caught.value)
    video.close()
    again = IsolatedVideo(path, "pyav", children)
    assert again._child.pid != video._child.pid
    assert len(list(again.images([0, 89], WHOLE))) == 2


def test_a_process_that_dies_while_it_waits_is_replaced(barcode_video: Maker, children: Children) -> None:
    video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    video.close()
    os.kill(video._child.pid, signal.SIGKILL)
    video._child._process.wait()
    again = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    assert len(list(again.images([5], WHOLE))) == 1


def test_a_stall_is_an_error_of_the_clip(barcode_video: Maker) -> None:
    children = Children(stall_s=0.5)
    video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    images = video.images(list(range(90)), WHOLE)
    next(images)
    os.kill(video._child.pid, signal.SIGSTOP)
    with pytest.raises(FormatError, match=r"made no progress for 0\.5 s after \d+ of 90 wanted frames"):
        list(images)
    assert gone(video._child.pid)


def test_a_slow_reader_is_no_stall(barcode_video: Maker) -> None:
    children = Children(stall_s=0.3)
    video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    images = video.images(list(range(90)), WHOLE)
    next(images)
    time.sleep(0.6)
    assert len(list(images)) == 89
    children.close()


def test_signs_of_life_are_no_stall() -> None:
    """Three tenths of a second between an answer and the one before, none of them silent."""
    program = (
        "import time; from vgeo.video.messages import Link, Pulse\n"
        "link = Link(0, 1); pulse = Pulse(link, 0.02); link.send({'is': 'ready'}); start = time.monotonic()\n"
        "while time.monotonic() < start + 1: pulse(); time.sleep(0.01)\n"
        "link.send({'is': 'done'}); link.receive()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = Child(process, None, stall_s=0.5)
    assert child.receive(20)[0] == {"is": "ready"}
    assert child.receive()[0] == {"is": "done"}
    child.end()


def huge_frames(path: Path) -> Path:
    """A GIF of a few bytes: pictures of 1 x 1 on a canvas of 16,000 x 16,000 pixels."""
    side = (16000).to_bytes(2, "little")
    picture = b"\x21\xf9\x04\x00\x0a\x00\x00\x00" + b"\x2c" + bytes(4) + b"\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    colours = bytes(3) + b"\xff" * 3
    path.write_bytes(b"GIF89a" + side + side + b"\x80\x00\x00" + colours + 3 * picture + b"\x3b")
    return path


def test_a_bomb_of_memory_is_an_error_of_the_clip(barcode_video: Maker, tmp_path: Path) -> None:
    bomb = huge_frames(tmp_path / "bomb.gif")
    assert bomb.stat().st_size < 200
    children = Children(memory_bytes=700 * 2**20)
    with pytest.raises(FormatError, match=r"bomb\.gif: "):
        list(IsolatedVideo(bomb, "pyav", children).images([0, 1, 2], WHOLE))
    video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    assert len(list(video.images([0, 1, 2], WHOLE))) == 3
    children.close()


def test_interrupting_a_terminal_leaves_it_at_work(barcode_video: Maker, children: Children) -> None:
    video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    images = video.images(list(range(90)), WHOLE)
    next(images)
    os.kill(video._child.pid, signal.SIGINT)
    assert len(list(images)) == 89
    assert os.getpgid(video._child.pid) != os.getpgid(0)


def test_it_outlives_the_thread_that_wanted_it(barcode_video: Maker, children: Children) -> None:
    """Linux ends a process with the thread that started it."""
    taken: list[Child] = []

    def first() -> None:
        taken.append(children.take())
        children.give_back(taken[0])

    thread = threading.Thread(target=first)
    thread.start()
    thread.join()
    time.sleep(0.1)
    video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
    assert video._child is taken[0]
    assert len(list(video.images([0, 50], WHOLE))) == 2


def test_threads_have_a_process_each(barcode_video: Maker, children: Children) -> None:
    numbers: dict[int, list[int]] = {}
    pids = set()

    def decode(which: int) -> None:
        video = IsolatedVideo(barcode_video("plain.mp4"), "pyav", children)
        pids.add(video._child.pid)
        barrier.wait()
        numbers[which] = [read_number(image) for _, image in video.images(range(which, 90, 10), WHOLE)]
        video.close()

    barcode_video("plain.mp4")
    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=decode, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == {which: list(range(which, 90, 10)) for which in range(3)}
    assert len(pids) == 3


def test_works_in_a_fork(barcode_video: Maker) -> None:
    path = barcode_video("plain.mp4")
    video = IsolatedVideo(path, "pyav")
    video.close()
    child = os.fork()
    if child == 0:
        good = False
        with suppress(BaseException):
            mine = IsolatedVideo(path, "pyav")
            good = len(list(mine.images([0, 40], WHOLE))) == 2 and mine._child.pid != video._child.pid
            CHILDREN.close()
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    again = IsolatedVideo(path, "pyav")
    assert len(list(again.images([0, 40], WHOLE))) == 2
    again.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_it_ends_with_the_one_who_asked(stopped: bool, barcode_video: Maker) -> None:
    program = (
        "import sys, time; from pathlib import Path; from vgeo.video.isolated import *\n"
        "video = IsolatedVideo(Path(sys.argv[1]), 'pyav'); images = video.images(range(90), Shape()); next(images)\n"
        "print(video._child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(barcode_video("plain.mp4"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        process.kill()
    assert gone(pid)


def test_decodes_here_where_no_process_can_be_started(
    barcode_video: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/blender")
    monkeypatch.setattr(CHILDREN, "_idle", [])
    monkeypatch.setattr(isolated, "_said", [])
    (clip,) = find_clips([barcode_video("plain.mp4")])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with open_clip(clip, Sampling(stride=30)) as opened:
                assert [frame.index for frame in opened] == [0, 30, 60]
    assert [record.message.split(" (")[0] for record in caplog.records] == ["no process for decoding can be started"]


def test_a_program_that_does_not_answer_is_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    children, before = Children(), handles()
    with pytest.raises(NoChildError, match="exit code 3"):
        children.take()
    program.write_text("#!/bin/sh\necho hello from another program\nsleep 5\n")
    with pytest.raises(NoChildError, match="exit code 3"):
        children.take()  # not tried again
    assert handles() == before


def test_one_clip_that_crashes_fails_alone(
    barcode_video: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = []
    for name in ("a.mp4", "bad.mp4", "c.mp4"):
        clips.append(tmp_path / name)
        clips[-1].symlink_to(barcode_video("plain.mp4"))
    images = IsolatedVideo.images

    def crash(self: IsolatedVideo, rows: list[int], shape: Shape) -> Iterator[tuple[int, np.ndarray]]:
        for number, pair in enumerate(images(self, rows, shape)):
            if self._path.name == "bad.mp4" and number == 3:
                os.kill(self._child.pid, signal.SIGSEGV)
            yield pair

    monkeypatch.setattr(IsolatedVideo, "images", crash)
    outcomes = extract_frames(clips, tmp_path / "frames", Sampling(stride=1))
    assert [(outcome.status, outcome.frames) for outcome in outcomes if outcome.status == "done"] == [("done", 90)] * 2
    (bad,) = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert "ended by signal 11" in bad.message
    assert "of 90 wanted frames" in bad.message
    assert not (tmp_path / "frames" / "bad").exists()
