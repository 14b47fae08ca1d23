"""Writes the data of the tables of real clips, from the files that others published.

python -m docs.table_data --data=DATA --output=DIR

DATA has three folders. `jhmdb` has the silhouettes of the people, puppet_masks.npz, and
J-HMDB's folder splits. `thetis_features` has inception_v3.npz. `ut_interaction` has
annotations.csv and its videos. DIR then has `silhouettes`, in the layout of J-HMDB's
release, `strokes.csv`, `ut_interaction_1.csv` to `ut_interaction_10.csv`, and the
features of those videos in the folder `ut_interaction`. What is there stays.
"""

import argparse
import csv
import pathlib
import shutil

import cv2
import keras
import numpy as np

import kd_keras
from kd_keras.aside import written_aside
from kd_keras.data.video.info import Video
from kd_keras.data.video.reading import probe, read_frames

_MAPS_PER_SECOND, _IMAGE_SIZE, _POOLED = 10, 192, 2


def write_silhouettes(source, output):
    """Writes a white person on black for each frame of J-HMDB, and copies its splits.

    Args:
        source: Folder with puppet_masks.npz and splits. The file has `bits` (frames,
            height, bytes), of which a bit is a pixel; `offsets` (clips + 1), the first
            frame of each clip; `video` and `label` of each clip; `shape`, the height
            and the width of a frame.
        output: The new folder, with Rename_Images and splits.
    """
    with np.load(source / "puppet_masks.npz") as file:
        masks = dict(file)
    first, width = masks["offsets"], int(masks["shape"][1])
    with written_aside(output) as aside:
        shutil.copytree(source / "splits", aside / "splits")
        for clip, video in enumerate(masks["video"]):
            folder = aside / "Rename_Images" / masks["label"][clip] / video
            folder.mkdir(parents=True)
            bits = masks["bits"][first[clip] : first[clip + 1]]
            frames = 255 * np.unpackbits(bits, axis=2, count=width)
            for number, frame in enumerate(frames, start=1):
                if not cv2.imwrite(str(folder / f"{number:05}.png"), frame):
                    raise OSError(f"{folder} cannot be written to.")


def write_strokes(source, output):
    """Writes the strokes of THETIS as segments; every fifth subject is evaluated.

    Args:
        source: inception_v3.npz, with `name`, `stroke` and `subject` of each clip, and
            `features` (clips, time, channels). A time step counts as a second.
        output: The CSV file.
    """
    with np.load(source) as file:
        end = file["features"].shape[1]
        clips = list(zip(file["name"], file["stroke"], file["subject"], strict=True))
    with (
        written_aside(output) as path,
        open(path, "w", newline="", encoding="utf-8") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(["video", "start", "end", "label", "split"])
        for name, stroke, subject in clips:
            part = "test" if subject % 5 == 0 else "train"
            writer.writerow([name, 0, end, stroke, part])


def write_sequences(source, output, fold):
    """Writes the clips of UT-Interaction; a sequence of each of its sets is evaluated.

    Args:
        source: The annotations, with `sequence` from 1 to 10 in set 1, to 20 in set 2.
        output: The CSV file.
        fold: From 1 to 10. Sequences `fold` and `fold + 10` are the test part.
    """
    with (
        open(source, newline="", encoding="utf-8") as clips,
        written_aside(output) as path,
        open(path, "w", newline="", encoding="utf-8") as table,
    ):
        reader = csv.DictReader(clips)
        writer = csv.DictWriter(table, reader.fieldnames)
        writer.writeheader()
        for clip in reader:
            clip["split"] = (
                "test" if int(clip["sequence"]) % 10 == fold % 10 else "train"
            )
            writer.writerow(clip)


def write_maps(source, output):
    """Writes a folder of what EfficientNet-Lite0 with ImageNet weights sees in videos.

    Its last map is pooled two by two, to (time, 3, 3, 1280) for each video, ten times a
    second.

    Args:
        source: The folder of `.avi` files.
        output: The new folder.
    """
    network = kd_keras.TSN(
        num_classes=1000,
        num_frames=1,
        image_size=_IMAGE_SIZE,
        segments=1,
        network="efficientnet_lite0",
        weights="imagenet",
    )
    pool = keras.layers.TimeDistributed(keras.layers.AveragePooling2D(_POOLED))
    maps = pool(network.get_layer("top_activation").output)
    model = keras.Model(network.input, maps)
    with written_aside(output) as aside:
        aside.mkdir()
        for path in sorted(source.glob("*.avi")):
            video = Video(path.name, path, "train")
            info = probe(video)
            every = np.arange(0, info.times_s[-1], 1 / _MAPS_PER_SECOND)
            indices = np.searchsorted(info.times_s, every)
            frames = read_frames(video, info, indices, (_IMAGE_SIZE, _IMAGE_SIZE))
            clips = frames[:, None].astype(np.float32) / 127.5 - 1
            found = model.predict(clips, verbose=0)[:, 0]
            np.save(aside / f"{path.name}.npy", found.astype(np.float16))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    data, output = arguments.data, arguments.output
    output.mkdir(parents=True, exist_ok=True)
    if not (output / "silhouettes").exists():
        write_silhouettes(data / "jhmdb", output / "silhouettes")
    if not (output / "strokes.csv").exists():
        strokes = data / "thetis_features" / "inception_v3.npz"
        write_strokes(strokes, output / "strokes.csv")
    for fold in range(1, 11):
        clips = output / f"ut_interaction_{fold}.csv"
        if not clips.exists():
            annotations = data / "ut_interaction" / "annotations.csv"
            write_sequences(annotations, clips, fold)
    if not (output / "ut_interaction").exists():
        write_maps(data / "ut_interaction", output / "ut_interaction")


if __name__ == "__main__":
    main()
