"""A data set and a run in their smallest form, for tests of whole commands."""

import csv

from absl import flags

from tests import numbered_video
from train.flags import config as config_lib
from train.flags.preparation import Preparation

# Quicker to trace than I3D, which `arguments` asks for.
SMALLEST_NETWORK = (
    "--backbone=tsn_small",
    "--segments=2",
    "--width=0.1",
    "--image_size=16",
)


def write_data_set(folder, videos=6):
    """Numbered videos of 4 s with two actions each; every fourth is validation."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(videos):
        name = f"v{number}.mp4"
        # Of different lengths, so that no two are one file.
        frames = 40 + number
        numbered_video.write(folder / name, frames, frame_rate=10, g="7")
        part = "val" if number % 4 == 3 else "train"
        for start, label in ((1.4, "open"), (2.6, "shut")):
            hidden = part == "train" and number % 3 == 1
            rows.append([name, start, start + 1, "" if hidden else label, part])
    with open(folder / "actions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "start", "end", "label", "split"])
        writer.writerows(rows)
    return folder


def arguments(folder, run_dir):
    """The flags of a run on the data set, of a second or two."""
    return [
        f"--annotations={folder / 'actions.csv'}",
        f"--video_root={folder}",
        f"--run_dir={run_dir}",
        "--lead_time_s=0.4",
        "--observed_s=0.9",
        "--future_s=0.9",
        "--num_frames=9",
        "--image_size=32",
        "--width=0.03",
        "--batch_size=4",
        "--teacher_steps=2",
        "--student_steps=4",
        # Adam would make much of a rounded gradient near zero.
        "--optimizer=sgd",
        "--student_learning_rate=0.02",
        # Statistics of four clips through a network as narrow would, too.
        "--freeze_batch_norm",
        "--warmup_steps=0",
        "--validate_every=4",
        "--nounlabeled_gaps",
        "--noexport",
        "--test_crops=center",
    ]


def config(folder, run_dir, *more):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", *arguments(folder, run_dir), *more])
    return config_lib.from_flags(values)


def preparation(output, *more):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    config_lib.define_flags(values, (Preparation,))
    values(["train.prepare", f"--output={output}", *more])
    return config_lib.read(Preparation, values)
