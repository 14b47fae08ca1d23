"""Pictures are turned and mirrored as their file's display matrix says."""

import fractions
import pathlib
import struct

import av
import cv2
import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video

_CASES = pathlib.Path(__file__).parents[2] / "shared" / "cases"
_HALF = 2**-0.5
# Quarter turns, without and with a mirror: a, b, c, d of x' = ax + cy, y' = bx + dy.
_QUARTERS = [
    (1, 0, 0, 1),
    (0, 1, -1, 0),
    (-1, 0, 0, -1),
    (0, -1, 1, 0),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, -1, -1, 0),
]


def _write(folder, matrix):
    """A video with this display matrix, and the name of one without."""
    plain = numbered_video.write(folder / "plain.mp4", 3, size=(48, 80))
    content = bytearray(plain.read_bytes())
    # Of the track header box: version, times, numbers, layer and volume come before.
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(65536 * value) for value in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = folder / "turned.mp4"
    path.write_bytes(content)
    return path, plain


def _read(path, size=None):
    video = Video("clip 1", pathlib.Path(path), TRAIN)
    info = reading.probe(video)
    return info, reading.read_frames(video, info, [1], size)[0]


def _moved(picture, matrix):
    """Every pixel to its place, one at a time."""
    a, b, c, d = matrix
    height, width = picture.shape[:2]
    places = {
        (b * x + d * y, a * x + c * y): picture[y, x]
        for y in range(height)
        for x in range(width)
    }
    top, left = (min(p[i] for p in places) for i in (0, 1))
    rows = len({p[0] for p in places})
    moved = np.empty((rows, height * width // rows, 3), np.uint8)
    for (y, x), pixel in places.items():
        moved[y - top, x - left] = pixel
    return moved


@pytest.mark.parametrize("matrix", _QUARTERS)
def test_every_pixel_goes_where_the_matrix_says(tmp_path, matrix):
    turned, plain = _write(tmp_path, matrix)
    info, picture = _read(turned)
    expected = _moved(_read(plain)[1], matrix)
    np.testing.assert_array_equal(picture, expected)
    assert (info.height, info.width) == picture.shape[:2]
    small = _read(turned, (info.width // 2, info.height // 2))[1]
    assert numbered_video.numbers([small]) == numbered_video.numbers([expected])


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_scale_of_the_matrix_is_not_its_matter(tmp_path, scale):
    turned, plain = _write(tmp_path, (-scale, 0, 0, scale))
    np.testing.assert_array_equal(_read(turned)[1], _read(plain)[1][:, ::-1])


@pytest.mark.parametrize("mirror", [1, -1])
def test_odd_angles_turn_about_the_middle(tmp_path, mirror):
    matrix = _HALF * mirror, _HALF * mirror, -_HALF, _HALF
    turned, plain = _write(tmp_path, matrix)
    source, (info, picture) = _read(plain)[1], _read(turned)
    assert (info.height, info.width) == (48, 80)
    a, b, c, d = matrix
    expected = np.zeros_like(picture)
    for y in range(48):
        for x in range(80):
            # The matrix keeps lengths: its inverse is its transpose.
            right, down = x - 39.5, y - 23.5
            from_x = round(a * right + b * down + 39.5)
            from_y = round(c * right + d * down + 23.5)
            if 0 <= from_x < 80 and 0 <= from_y < 48:
                expected[y, x] = source[from_y, from_x]
    differs = np.abs(picture.astype(int) - expected).max(axis=-1) > 40
    # Edges between black and white are smooth in one and not in the other.
    assert differs.mean() < 0.12 and not picture[:3, :3].any()
    assert numbered_video.numbers([_read(turned, (40, 24))[1]]) == (
        numbered_video.numbers([expected])
    )


@pytest.mark.parametrize(
    ("matrix", "reason"), [((1, 1, 0, 1), "shears"), ((0, 0, 0, 1), "zero in one")]
)
def test_a_matrix_that_does_not_turn_is_refused(tmp_path, matrix, reason):
    turned, _ = _write(tmp_path, matrix)
    with pytest.raises(reading.BadVideo, match=f"clip 1: .*turned.mp4.*{reason}"):
        _read(turned)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_of_a_camera_are_turned_as_their_exif_says(tmp_path, orientation):
    """OpenCV, which knows EXIF itself, is the oracle."""
    gray = np.add.outer(3 * np.arange(48), np.arange(80)).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", np.dstack([gray] * 3))[1].tobytes()
    # One field: the orientation (0x0112), a short number.
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = struct.pack(">2sH6s", b"\xff\xe1", 8 + len(tiff), b"Exif\0\0") + tiff
    jpeg = jpeg[:2] + exif + jpeg[2:]
    path = tmp_path / "camera.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuvj420p"
        for number in range(2):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = stream, fractions.Fraction(1, 25)
            packet.pts = packet.dts = number
            container.mux(packet)
    expected = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    picture = _read(path)[1]
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 3


@pytest.mark.skipif(not _CASES.is_dir(), reason=f"{_CASES} is not there")
def test_mirrored_recordings_are_shown_as_recorded():
    # A matrix that mirrors sideways, one that swaps the axes: the stored picture is the
    # same in both files, but the second is as wide as the first is high.
    pictures = [_read(_CASES / name)[1] for name in ("hflip.mp4", "transpose.mp4")]
    assert [p.shape for p in pictures] == [(64, 96, 3), (96, 64, 3)]
    np.testing.assert_array_equal(pictures[0][:, ::-1], pictures[1].swapaxes(0, 1))
