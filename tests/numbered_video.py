"""Videos whose frames carry their number in black and white blocks."""

import fractions

import av
import cv2
import numpy as np

_BITS = 8
_MILLISECONDS = fractions.Fraction(1, 1000)


def frame(number, height=48, width=64):
    """uint8 RGB; the blocks survive compression, scaling and turning upright."""
    bits = (number >> np.arange(_BITS)) & 1
    grid = (bits.reshape(2, 4) * 255).astype(np.uint8)
    picture = cv2.resize(grid, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(picture[..., None], 3, axis=-1)


def numbers(frames):
    """Reads the numbers back from whole frames of any size."""
    found = []
    for picture in np.asarray(frames):
        grey = picture.astype(np.uint8).mean(axis=-1)
        grid = cv2.resize(grey, (40, 20), interpolation=cv2.INTER_AREA)
        bits = grid[5::10, 5::10].ravel() > 127
        found.append(int((bits << np.arange(_BITS)).sum()))
    return found


def write(
    path,
    num_frames=30,
    codec="libx264",
    frame_rate=30,
    times_ms=None,
    size=(48, 64),
    container_options=None,
    **options,
):
    """Writes frames 0, 1, ...; `times_ms` are their presentation times."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=frame_rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = {"gif": "gray", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        if times_ms is not None:
            stream.codec_context.time_base = _MILLISECONDS
        for number in range(num_frames):
            picture = av.VideoFrame.from_ndarray(frame(number, *size), format="rgb24")
            if times_ms is not None:
                picture.pts, picture.time_base = int(times_ms[number]), _MILLISECONDS
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_folder(path, numbers_, suffix=".png", prefix=""):
    """A folder of frames; the image numbered n shows n."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers_:
        cv2.imwrite(str(path / f"{prefix}{number:05d}{suffix}"), frame(number))
    return path
