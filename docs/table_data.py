"""Writes the data of the tables of real clips, from the files that others published.

python -m docs.table_data --data=DATA --output=DIR

`jhmdb` in DATA has the silhouettes of the people, puppet_masks.npz, and
J-HMDB's folder splits. `thetis_features` has inception_v3.npz. `ut_interaction` and
`videos/ceiling_actions` have annotations.csv and videos. DIR then has `silhouettes`, in
the layout of J-HMDB's release, and `strokes.csv`. It has the folds `strokes_1.csv` to
`strokes_5.csv`, `ut_interaction_1.csv` to `ut_interaction_10.csv` and
`ceiling_actions_1.csv` to `ceiling_actions_7.csv`. It has the features of the videos of
the last two in the folders `ut_interaction` and `ceiling_actions`. What is there stays.
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

_IMAGE_SIZE, _POOLED = 192, 2


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
    """Writes the strokes of THETIS as segments, with the subject of each.

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
        writer.writerow(["video", "start", "end", "label", "subject"])
        writer.writerows(
            [name, 0, end, stroke, subject] for name, stroke, subject in clips
        )


def write_folds(source, output, num_folds, column):
    """Writes annotations once for each fold, whose own clips are the test part.

    Args:
        source: The annotations, a CSV. If it has a column `split`, that is not used.
        output: The path of each file that is written, with `{fold}` for its number.
        num_folds: How many there are.
        column: Clips with one value of this column are a group, and stay together. The
            values, shorter ones first, go to the folds in turn.
    """
    with open(source, newline="", encoding="utf-8") as clips:
        reader = csv.DictReader(clips)
        rows = list(reader)
    groups = sorted(
        {row[column] for row in rows}, key=lambda value: (len(value), value)
    )
    fold_of = {group: turn % num_folds + 1 for turn, group in enumerate(groups)}
    for fold in range(1, num_folds + 1):
        with (
            written_aside(output.with_name(output.name.format(fold=fold))) as path,
            open(path, "w", newline="", encoding="utf-8") as table,
        ):
            columns = dict.fromkeys([*reader.fieldnames, "split", "group"])
            writer = csv.DictWriter(table, columns)
            writer.writeheader()
            for row in rows:
                part = "test" if fold_of[row[column]] == fold else "train"
                writer.writerow(row | {"split": part, "group": row[column]})


def write_maps(source, output, per_second):
    """Writes a folder of what EfficientNet-Lite0 with ImageNet weights sees in videos.

    Its last map is pooled two by two, to (time, 3, 3, 1280) for each video.

    Args:
        source: The folder of `.avi` or `.mp4` files.
        output: The new folder.
        per_second: How many maps a second has.
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
        videos = (p for p in source.iterdir() if p.suffix in (".avi", ".mp4"))
        for path in sorted(videos):
            video = Video(path.name, path, "train")
            info = probe(video)
            every = np.arange(0, info.times_s[-1], 1 / per_second)
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
    strokes = output / "strokes.csv"
    if not strokes.exists():
        write_strokes(data / "thetis_features" / "inception_v3.npz", strokes)
    _write_missing_folds(strokes, output / "strokes_{fold}.csv", 5, "subject")
    _write_recordings(data / "ut_interaction", output, 10, "sequence", per_second=10)
    _write_recordings(data / "videos/ceiling_actions", output, 7, "video", per_second=5)


def _write_recordings(source, output, num_folds, column, per_second):
    folds = output / f"{source.name}_{{fold}}.csv"
    _write_missing_folds(source / "annotations.csv", folds, num_folds, column)
    if not (output / source.name).exists():
        write_maps(source, output / source.name, per_second)


def _write_missing_folds(source, output, num_folds, column):
    if not output.with_name(output.name.format(fold=num_folds)).exists():
        write_folds(source, output, num_folds, column)


if __name__ == "__main__":
    main()
