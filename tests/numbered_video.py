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
        gray = picture.astype(np.uint8).mean(axis=-1)
        grid = cv2.resize(gray, (40, 20), interpolation=cv2.INTER_AREA)
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


def write_recording(
    path, times_s, codec="libx264", sound_s=None, starts_s=0.0, streams=1, **options
):
    """Writes frames 0, 1, ... at their times, and silence.

    Args:
        sound_s: When the silence begins and ends; None writes none.
        starts_s: What all clocks of the file start at.
        streams: Video streams; all but the first show frames 100, 101, ...
    """
    begin_s, end_s = sound_s or (0, 0)
    packets, silent = [], []
    with av.open(str(path), "w") as container:
        pictures = []
        for _ in range(streams):
            stream = container.add_stream(codec, rate=25, options=options)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            # MPEG-2 knows no times but those of its frame rate.
            is_mpeg2 = codec == "mpeg2video"
            stream.codec_context.time_base = fractions.Fraction(
                1, 25 if is_mpeg2 else 90_000
            )
            pictures.append(stream)
        # Matroska keeps the delay of an encoder, by which the sound starts earlier.
        codec = "pcm_s16le" if "matroska" in container.format.name else "mp2"
        sound = container.add_stream(codec, rate=16_000) if sound_s else None
        for place, stream in enumerate(pictures):
            for number, time_s in enumerate(times_s):
                shown = frame(number + 100 * (place > 0))
                picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
                picture.time_base = stream.codec_context.time_base
                picture.pts = round((starts_s + time_s) / picture.time_base)
                packets += stream.encode(picture)
            packets += stream.encode()
        for start in range(*(round(s * 16_000) for s in (begin_s, end_s)), 1152):
            silence = np.zeros((1, 1152), np.int16)
            silence = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            silence.sample_rate, silence.pts = 16_000, start + round(starts_s * 16_000)
            silent += sound.encode(silence)
        silent += sound.encode() if sound else []
        delay = silent[0].pts - round((starts_s + begin_s) * 16_000) if silent else 0
        for packet in silent:
            packet.pts = packet.dts = packet.pts - delay
        # Muxers want the packets of all streams in the order of their time.
        for packet in sorted(packets + silent, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def write_folder(path, numbers_, suffix=".png", prefix=""):
    """A folder of frames; the image numbered n shows n."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers_:
        cv2.imwrite(str(path / f"{prefix}{number:05d}{suffix}"), frame(number))
    return path
