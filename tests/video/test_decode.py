"""Every way of choosing frames gives what decoding everything in order gives, in all containers and codecs."""

import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from clipmaker import make_video, read_number

from vgeo.errors import FormatError, InputError, VgeoError
from vgeo.video import decode, feed, reader
from vgeo.video.decode import Video
from vgeo.video.pixels import Converter, Shape
from vgeo.video.sampling import Sampling

NAMES = [
    "plain.mp4", "plain.mkv", "plain.ts", "h264.avi", "open_gop.mp4", "open_gop.ts", "gradual_refresh.mp4",
    "hevc_open_gop.mp4", "mpeg4.avi", "mpeg2.ts", "vp9.webm", "vfr.mp4", "vfr.mkv", "turned_90.mp4", "turned_180.mp4",
    "cut_edit_list.mp4", "cut_between_keys.mp4", "cut_between_keys.ts", "cut.mkv",
]  # fmt: skip
WAYS = [
    Sampling(),
    Sampling(rate_hz=30),
    Sampling(rate_hz=3.7),
    Sampling(every_s=0.9, start_s=0.5, end_s=2.2),
    Sampling(count=7),
    Sampling(stride=11, start_s=0.3),
    Sampling(stride=1),
]
VFR_MS = np.cumsum(np.random.default_rng(0).integers(10, 90, 90))
Maker = Callable[[str], Path]


def decode_with_times(path: Path) -> list[tuple[int | None, np.ndarray]]:
    """The oracle: PyAV's own loop over all packets, nothing skipped and nothing sought."""
    images: list[tuple[int | None, np.ndarray]] = []
    convert = Converter(Shape())
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                images += [(frame.pts, convert(frame)) for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return images


def decode_in_order(path: Path) -> list[np.ndarray]:
    return [image for _, image in decode_with_times(path)]


def check(video: Video, expected: list[np.ndarray]) -> None:
    assert len(video.table) == len(expected)
    for way in WAYS:
        rows = way.rows(video.table.time_s, video.table.duration_s).tolist()
        assert rows
        got = list(video.images(rows, Shape()))
        assert [row for row, _ in got] == rows
        for row, image in got:
            assert np.array_equal(image, expected[row]), f"{way.describe()}: row {row} is another frame"


@pytest.mark.parametrize("name", NAMES)
def test_equals_decoding_in_order(name: str, barcode_video: Maker) -> None:
    path = barcode_video(name)
    expected = decode_in_order(path)
    check(Video(path), expected)
    upright = expected if "turned_180" not in name else [image[::-1, ::-1] for image in expected]
    if "turned_90" in name:
        upright = [np.rot90(image) for image in expected]
    numbers = [read_number(image) for image in upright]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "the blocks are frame numbers, in order"


@pytest.mark.parametrize("name", ["plain.mp4", "plain.mkv", "plain.ts", "open_gop.ts", "vp9.webm", "vfr.mkv"])
def test_seeking_changes_nothing(name: str, barcode_video: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_KEPT_BYTES", -1)
    monkeypatch.setattr(feed, "_SEEK_BYTES", -1)
    check(Video(barcode_video(name)), decode_in_order(barcode_video(name)))


@pytest.mark.parametrize("name", ["plain.mp4", "hevc_open_gop.mp4"])
def test_one_thread_changes_nothing(name: str, barcode_video: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_MAX_AHEAD_BYTES", 0)
    check(Video(barcode_video(name)), decode_in_order(barcode_video(name)))


@pytest.mark.parametrize("name", ["plain.mp4", "open_gop.ts", "gradual_refresh.mp4", "cut_edit_list.mp4", "h264.avi"])
def test_reading_twice_changes_nothing(name: str, barcode_video: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_KEPT_BYTES", 1000)
    video = Video(barcode_video(name))
    assert video._kept is None
    check(video, decode_in_order(barcode_video(name)))


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_times_are_presentation_times(name: str, barcode_video: Maker) -> None:
    time_s = Video(barcode_video(name)).table.time_s
    assert time_s == pytest.approx((VFR_MS - VFR_MS[0]) / 1000, abs=0.0011)


def test_only_needed_groups_are_decoded(barcode_video: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    fed = []
    inner = reader.decode_packet
    monkeypatch.setattr(
        reader, "decode_packet", lambda packet, tally, n, to: fed.append(n) or inner(packet, tally, n, to)
    )
    video = Video(barcode_video("plain.mp4"))
    fed.clear()
    assert [row for row, _ in video.images([0, 62], Shape())] == [0, 62]
    assert min(fed) == 60 and len(fed) <= 4, "frame 0 was decoded when the file was looked at"
    fed.clear()
    assert [row for row, _ in video.images([0, 62], Shape())] == [0, 62]
    # Two groups are decoded by two threads, in any order: the packet of frame 0, and those of frames 60 to 62.
    assert min(fed) == 0 and all(n == 0 or n >= 60 for n in fed) and len(fed) <= 6


def test_in_a_group_only_what_is_wanted_or_referred_to_is_decoded(
    barcode_video: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-frames that nobody asks for are passed over; one that is asked for comes without a second decoding."""
    fed, given = [], []

    def watched(packet: av.Packet, tally: object, number: int, decoder: object) -> list[av.VideoFrame]:
        frames = inner(packet, tally, number, decoder)
        fed.append(number)
        given.extend(frames)
        return frames

    inner = reader.decode_packet
    video = Video(barcode_video("plain.mp4"))
    with av.open(str(barcode_video("plain.mp4"))) as container:
        kinds = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    monkeypatch.setattr(reader, "decode_packet", watched)
    for row in (kinds.index("B", 20), kinds.index("P", 20)):
        fed.clear()
        given.clear()
        assert [read_number(image) for _, image in video.images([row], Shape())] == [row]
        assert len(fed) == len(set(fed)), "each packet once"
        assert len(given) < 0.8 * row


@pytest.mark.parametrize("stamp", ["1904-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2024-06-01T12:00:00Z"])
def test_the_clock_of_a_camera_without_one_is_not_believed(stamp: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=2, metadata={"creation_time": stamp})
    start = Video(path).info.start_utc
    assert (start is None) if stamp < "1990" else (start is not None and start.isoformat()[:19] == stamp[:19])


def test_rotation_is_applied(barcode_video: Maker) -> None:
    info = Video(barcode_video("turned_90.mp4")).info
    assert (info.width, info.height) == (128, 192)
    _, turned = next(Video(barcode_video("turned_90.mp4")).images([40], Shape()))
    _, stored = next(Video(barcode_video("plain.mp4")).images([40], Shape()))
    with av.open(str(barcode_video("turned_90.mp4"))) as container:
        assert next(container.decode(video=0)).rotation == -90, "libav counts counterclockwise"
    assert np.array_equal(turned, np.rot90(stored, -1))


@pytest.mark.parametrize("name", ["turned_90.mp4", "turned_180.mp4"])
def test_rotation_agrees_with_an_independent_decoder(name: str, barcode_video: Maker) -> None:
    decord = pytest.importorskip("decord")
    other = decord.VideoReader(str(barcode_video(name)))[40].asnumpy()
    _, image = next(Video(barcode_video(name)).images([40], Shape()))
    assert image.shape == other.shape and np.abs(image.astype(int) - other).mean() < 3


@pytest.mark.parametrize(
    ("shape", "size"),
    [(Shape(), (192, 128)), (Shape(64), (96, 64)), (Shape(64, square=True), (64, 64)), (Shape(256), (384, 256))],
)
def test_sizes(shape: Shape, size: tuple[int, int], barcode_video: Maker) -> None:
    for name, expected in (("plain.mp4", size), ("turned_90.mp4", size[::-1])):
        _, image = next(Video(barcode_video(name)).images([17], shape))
        assert (image.shape[1], image.shape[0]) == expected
        assert image.dtype == np.uint8 and image.flags.c_contiguous


def test_resized_frames_show_the_same(barcode_video: Maker) -> None:
    got = Video(barcode_video("plain.mp4")).images(list(range(90)), Shape(96))
    assert [read_number(image) for _, image in got] == list(range(90))


def test_what_a_video_says_of_itself(barcode_video: Maker) -> None:
    video = Video(barcode_video("plain.mp4"))
    assert (video.info.width, video.info.height, video.info.declared_frames) == (192, 128, 90)
    assert video.table.duration_s == pytest.approx(3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("damage", ["zeroed", "cut short", "random"])
def test_damaged_videos_give_what_decoding_in_order_gives(suffix: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    front = {"movflags": "+faststart"} if suffix == "mp4" else None
    make_video(path, frames=240, options={"g": "30", "bf": "3", "preset": "veryfast"}, container_options=front)
    data = bytearray(path.read_bytes())
    middle, part = len(data) // 2, len(data) // 12
    if damage == "cut short":
        data = data[: len(data) * 6 // 10]
    else:
        noise = np.random.default_rng(3).integers(0, 256, part, dtype=np.uint8).tobytes()
        data[middle : middle + part] = bytes(part) if damage == "zeroed" else noise
    path.write_bytes(data)
    salvaged = decode_with_times(path)
    video = Video(path)
    got = list(video.images(list(range(len(video.table))), Shape()))
    assert len(got) == len(salvaged) > 100, "no fewer, and none shown again in place of a lost one"
    if video.table.by_packets:
        at = dict(salvaged)  # after damage, decoders give frames out of turn
        assert all(np.array_equal(image, at[int(video.table.pts[row])]) for row, image in got)
    whole = [row for row, image in got if read_number(image) == row]
    assert len(whole) >= 100
    assert len(video.table) - len(got) == video.tally.lost_frames


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"<html><body>Not found</body></html>", "not a video .* web page"),
        (b"\0" * 4096, "not a video .* zeros"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100, "cut short"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "not a video"),
    ],
)
def test_other_files_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        Video(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["plain.mp4", "plain.ts", "plain.mkv", "h264.avi"])
def test_damage_anywhere_is_an_error_of_the_file_or_none(name: str, barcode_video: Maker, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    whole = np.frombuffer(barcode_video(name).read_bytes(), np.uint8)
    path = tmp_path / name
    for near in (*[2000] * 12, *[len(whole)] * 6):
        data = whole.copy()
        places = rng.integers(0, min(near, len(data)), 12)
        data[-places - 1 if name == "plain.mp4" else places] = rng.integers(0, 256, 12)
        path.write_bytes(data.tobytes())
        try:
            video = Video(path)
        except VgeoError as error:
            assert str(path) in str(error)
            continue
        rows = Sampling(rate_hz=4).rows(video.table.time_s, video.table.duration_s).tolist()
        got = list(video.images(rows, Shape(32)))
        assert len(got) + video.tally.lost_frames == len(rows)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        Video(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        Video(tmp_path / "none.mp4")
    import os

    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(FormatError, match="not a regular file"):
        Video(tmp_path / "pipe.mp4")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(FormatError, match="no video"):
        Video(path)


def test_leaving_early_ends_the_threads(barcode_video: Maker) -> None:
    before = threading.active_count()
    images = Video(barcode_video("plain.mp4")).images(list(range(90)), Shape())
    next(images)
    images.close()
    assert threading.active_count() == before
