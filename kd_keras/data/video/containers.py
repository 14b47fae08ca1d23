"""Opens video files, and finds their pictures."""

import av

from kd_keras.data.video.info import BadVideo

# Twice those of 8K; a header that names more is damaged, and memory would end.
MOST_PIXELS = 1 << 26


def opened(path):
    """A file as a container, to be used in a `with` statement."""
    # Titles may have any encoding, and are of no use here.
    return av.open(str(path), metadata_errors="replace")


def picture_stream(video, container):
    """The first stream of moving pictures, to be decoded by one core."""
    for stream in container.streams.video:
        if not is_cover(stream):
            if stream.codec_context is None:
                raise BadVideo(video.name, "its pictures have a codec nobody knows")
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
            return stream
    raise BadVideo(video.name, "the file has no video stream")


def is_cover(stream):
    """Cover art is a picture, not a video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def guesses_times(container, stream):
    """Whether presentation times are guesses: AVI keeps none, B-frames need them."""
    return container.format.name == "avi" and stream.codec_context.has_b_frames


def rate_of_counted(stream):
    """Frames per second of a stream whose frames have no times."""
    # The average is the demuxer's own guess; the other knows the header.
    return float(stream.guessed_rate or stream.average_rate or stream.base_rate or 25)


def demuxed(container, *streams):
    """Yields the packets of some streams, or of all; the last ones hold no data."""
    try:
        yield from container.demux(*streams)
    except IndexError:
        # PyAV stumbles at the very end over streams that began in the middle.
        return
