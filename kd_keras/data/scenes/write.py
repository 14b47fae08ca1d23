"""Generated recordings to try the whole product on: hands that reach for objects.

A camera pans along a bench. At every stop a hand comes in, forms its grip while it
heads for one of the objects, then acts on it. What is done to what is the class; only
the approach can be seen in the observed clip. A few segments of the training part are
labeled, most are not.
"""

import collections
import concurrent.futures
import csv
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import signal
import threading

from kd_keras.aside import written_aside
from kd_keras.data.parallel import num_cores, progress_bar
from kd_keras.data.scenes.drawing import draw_recording
from kd_keras.data.scenes.plan import plan_recordings
from kd_keras.data.segments import TRAIN, VAL
from kd_keras.data.video.reading import write_video

_ANNOTATIONS = "annotations.csv"
_ARGUMENTS = "scenes.json"
_VERSION = 1  # Of what is drawn: folders of another version are written again.
# About 4 s each.
_SEGMENTS_PER_VIDEO = 5
_IMAGE_SIZE = (96, 96)
_FRAME_RATE = 12.0


def write_scenes(
    folder: str | os.PathLike,
    num_videos: int = 160,
    labeled_fraction: float = 0.15,
    seed: int = 0,
    val_fraction: float = 0.25,
    camera_drift: float = 0.1,
) -> pathlib.Path:
    """Writes MP4 files and their annotations, `video,start,end,label,split`.

    The result depends on the arguments alone. A folder that holds the scenes of the
    same arguments is used as it is. Files are written aside and renamed at the end, so
    the folder is there completely or not at all.

    Args:
        folder: Where `annotations.csv` and `videos/` are to be.
        num_videos: Recordings in both parts, at least 2.
        labeled_fraction: Part of the training segments that carry a label, evenly over
            the classes and at least one of each; the others have an empty one. All of
            `val` is labeled.
        seed: Another seed, other recordings.
        val_fraction: Part of the recordings that are `val`, the last ones; each part
            has at least one.
        camera_drift: How far the camera may move off the center of a stop, from 0 to
            1 heights of the view. With 0 it rests there, so what lies on the bench is
            at the same place in the observed and in the future clip.
    Returns:
        The path of `annotations.csv`.
    Raises:
        ValueError: If an argument is out of range, or `folder` holds anything but the
            scenes of these arguments.
    """
    if num_videos < 2:
        raise ValueError(
            "Scenes need at least 2 videos, one for each part. Got num_videos="
            f"{num_videos}."
        )
    if not 0 < labeled_fraction <= 1:
        raise ValueError(
            f"`labeled_fraction` must be in (0, 1]. Got {labeled_fraction}."
        )
    if not 0 < val_fraction < 1:
        raise ValueError(f"`val_fraction` must be in (0, 1). Got {val_fraction}.")
    if not 0 <= camera_drift <= 1:
        raise ValueError(f"`camera_drift` must be in [0, 1]. Got {camera_drift}.")
    arguments = {
        "version": _VERSION,
        "num_videos": num_videos,
        "segments_per_video": _SEGMENTS_PER_VIDEO,
        "labeled_fraction": labeled_fraction,
        "val_fraction": val_fraction,
        "camera_drift": camera_drift,
        "image_size": [*_IMAGE_SIZE],
        "frame_rate": _FRAME_RATE,
        "seed": seed,
    }
    folder = pathlib.Path(folder)
    if folder.exists() and any(folder.iterdir()):
        _check_same_scenes(folder, arguments)
        return folder / _ANNOTATIONS

    width, height = _IMAGE_SIZE
    recordings = plan_recordings(
        num_videos, _SEGMENTS_PER_VIDEO, width / height, seed, camera_drift
    )
    # Whole videos belong to a part: a stop's neighbors share its bench and its light.
    num_val = min(max(1, round(num_videos * val_fraction)), num_videos - 1)
    parts = [TRAIN] * (num_videos - num_val) + [VAL] * num_val

    with written_aside(folder) as aside:
        (aside / "videos").mkdir(parents=True)
        _write_videos(aside, recordings)
        _write_annotations(aside, recordings, parts, labeled_fraction, seed)
        (aside / _ARGUMENTS).write_text(json.dumps(arguments, indent=1) + "\n")
    return folder / _ANNOTATIONS


def _write_videos(folder, recordings):
    # Processes, as drawing holds the interpreter's lock; started anew, as a copy of a
    # process with TensorFlow's threads may hang.
    bar = progress_bar(len(recordings), "video")
    with concurrent.futures.ProcessPoolExecutor(
        min(num_cores(), len(recordings)),
        multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    ) as executor:
        written = [
            executor.submit(_write_video, folder, recording) for recording in recordings
        ]
        try:
            for video in concurrent.futures.as_completed(written):
                video.result()
                bar.add(1)
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _end_with_parent():
    """Leaves Ctrl-C to the parent, and ends this process if the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_video(folder, recording):
    frames = draw_recording(recording, _IMAGE_SIZE, _FRAME_RATE)
    write_video(folder / _video_name(recording), frames, _FRAME_RATE)


def _write_annotations(folder, recordings, parts, labeled_fraction, seed):
    rows = [
        {
            "video": _video_name(recording),
            "start": f"{stop.start_s:.3f}",
            "end": f"{stop.end_s:.3f}",
            "label": stop.label,
            "split": part,
        }
        for recording, part in zip(recordings, parts, strict=True)
        for stop in recording.stops
    ]
    training = [row for row in rows if row["split"] == TRAIN]
    for row in _beyond_budget(training, labeled_fraction, seed):
        row["label"] = ""
    with open(folder / _ANNOTATIONS, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _beyond_budget(rows, labeled_fraction, seed):
    """The rows to leave without a label: drawn at random, the same of every class."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    by_class = collections.defaultdict(list)
    for row in shuffled:
        by_class[row["label"]].append(row)
    turns = itertools.zip_longest(*(by_class[label] for label in sorted(by_class)))
    in_turn = [row for turn in turns for row in turn if row is not None]
    return in_turn[max(len(by_class), round(labeled_fraction * len(rows))) :]


def _video_name(recording):
    return f"videos/{recording.name}.mp4"


def _check_same_scenes(folder, arguments):
    try:
        found = json.loads((folder / _ARGUMENTS).read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{folder} exists and holds no generated scenes; name another folder."
        ) from None
    if found != arguments:
        raise ValueError(
            f"{folder} holds scenes of other arguments, {found}. Got {arguments}; "
            "remove it or name another folder."
        )
