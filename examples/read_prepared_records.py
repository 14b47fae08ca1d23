"""
Title: Read prepared records in other TensorFlow code
Author: kd_keras authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Reads the TFRecords of train.prepare with tf.data alone.
Accelerator: None
"""

"""
## Introduction

`python -m train.prepare` writes the clips of a training run as TFRecords. A record is
a `SequenceExample` with the keys of MediaSequence, a convention that the video
readers of MediaPipe, TensorFlow and DeepMind share. So any TensorFlow code can read
it. This example uses nothing of `kd_keras` after the data is prepared.

The program takes about 30 seconds on two CPU cores.

## Setup
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import tensorflow as tf

NUM_FRAMES, SIZE_PX = 9, 32

"""
## Prepare some data

The command takes the flags of the training run that the data is for. This flagfile
describes a small run on generated videos. Run the example from the checkout, as the
command lives there.
"""

scratch = tempfile.TemporaryDirectory()
records = pathlib.Path(scratch.name) / "records"
subprocess.run(
    [
        *(sys.executable, "-m", "train.prepare"),
        "--flagfile=configs/smoke.flags",
        f"--num_frames={NUM_FRAMES}",
        f"--image_size={SIZE_PX}",
        f"--output={records}",
    ],
    check=True,
    env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
)

"""
## What is in the folder

`index.json` lists the shards, the key of every record (video, start and end in
seconds) and checksums. `data_set.json` holds the class names, in the order of their
indices.
"""

index = json.loads((records / "index.json").read_text())
data_set = json.loads((records / "data_set.json").read_text())
classes = data_set["classes"]
shards = [str(records / shard["name"]) for shard in index["shards"]]
num_listed = sum(len(shard["keys"]) for shard in index["shards"])
print(f"{len(shards)} shards list {num_listed} clips of {len(classes)} classes")

"""
## Parse a record

The frames are JPEGs and somewhat larger than the clip, to leave room for random
crops. A frame that a clip shows twice is stored once: `kd_keras/frame_index` names
the stored frame for each frame of the clip. A clip without a label has no
`clip/label/index`. Times are in microseconds.
"""

CONTEXT = {
    "clip/data_path": tf.io.FixedLenFeature([], tf.string),
    "clip/start/timestamp": tf.io.FixedLenFeature([], tf.int64),
    "clip/end/timestamp": tf.io.FixedLenFeature([], tf.int64),
    "clip/label/index": tf.io.FixedLenFeature([], tf.int64, default_value=-1),
    "kd_keras/frame_index": tf.io.FixedLenFeature([NUM_FRAMES], tf.int64),
}
SEQUENCE = {
    "image/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
    "image/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
}


def parse(record):
    """Returns a clip (frames, height, width, 3) in [-1, 1] and what is known of it."""
    context, sequence = tf.io.parse_single_sequence_example(record, CONTEXT, SEQUENCE)
    frames = tf.map_fn(
        lambda image: tf.io.decode_jpeg(image, channels=3),
        sequence["image/encoded"],
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )
    frames = tf.gather(frames, context["kd_keras/frame_index"])
    frames = tf.image.resize_with_crop_or_pad(frames, SIZE_PX, SIZE_PX)
    return {
        "clip": tf.cast(frames, tf.float32) / 127.5 - 1,
        "label": context["clip/label/index"],
        "video": context["clip/data_path"],
        "start_s": tf.cast(context["clip/start/timestamp"], tf.float64) / 1e6,
        "end_s": tf.cast(context["clip/end/timestamp"], tf.float64) / 1e6,
        "frame_times_s": tf.cast(
            tf.gather(sequence["image/timestamp"], context["kd_keras/frame_index"]),
            tf.float64,
        )
        / 1e6,
    }


clips = tf.data.TFRecordDataset(shards).map(parse, num_parallel_calls=tf.data.AUTOTUNE)

"""
## Use the clips

From here on it is a data set like any other.
"""

read = list(clips.as_numpy_iterator())
num_labeled = sum(clip["label"] >= 0 for clip in read)
print(f"Read {len(read)} clips; {num_labeled} have a label")
example = next(clip for clip in read if clip["label"] >= 0)
print(
    f"{example['video'].decode()} from {example['start_s']:.2f} to "
    f"{example['end_s']:.2f} s shows: {classes[example['label']]}"
)

labeled = clips.filter(lambda clip: clip["label"] >= 0)
batches = labeled.map(lambda clip: (clip["clip"], clip["label"])).batch(8)
batch, label = next(iter(batches))
print(f"A batch for model.fit: {tuple(batch.shape)} and {tuple(label.shape)}")
scratch.cleanup()
