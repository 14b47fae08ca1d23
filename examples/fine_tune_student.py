"""
Title: Fine-tune a student
Author: kd_keras authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Loads a trained student and trains it for other classes.
Accelerator: None
"""

"""
## Introduction

A training run leaves `student.keras`, an ordinary Keras model made of built-in
layers. This example loads such a file and teaches the network new classes from few
clips.

To have a file to start from, it first trains a small student. With a run of your own,
leave that part out and load `RUN_DIR/student.keras`.

The program takes about 40 seconds on two CPU cores.

## Setup
"""

import kd_keras  # isort: skip

import pathlib
import tempfile

import keras
import numpy as np

keras.utils.set_random_seed(0)

NUM_FRAMES, SIZE_PX, SQUARE_PX = 8, 16, 5

"""
## The clips

A square moves by a pixel per frame, in one of the given directions.
"""


def make_clips(directions, count, random):
    """Returns clips (count, frames, height, width, 3) in [-1, 1] and their labels."""
    label = random.integers(len(directions), size=count)
    # The middle of the way lies near the middle of the picture.
    middle = random.uniform(6, SIZE_PX - 7, size=(count, 1, 2))
    frame = np.arange(NUM_FRAMES)[None, :, None] - (NUM_FRAMES - 1) / 2
    centers = middle + frame * np.array(directions)[label][:, None]
    distance = np.abs(np.arange(SIZE_PX)[:, None] - centers[..., None, :])
    covered = np.clip((SQUARE_PX + 1) / 2 - distance, 0, 1)
    squares = covered[..., :, None, 0] * covered[..., None, :, 1]
    clips = 2 * squares - 1 + random.normal(scale=0.2, size=squares.shape)
    clips = np.clip(clips, -1, 1)[..., None].repeat(3, axis=-1)
    return clips.astype("float32"), label


random = np.random.default_rng(0)
OLD_DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0)]
NEW_DIRECTIONS = [(0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)]
old_clips, old_label = make_clips(OLD_DIRECTIONS, 384, random)
new_clips, new_label = make_clips(NEW_DIRECTIONS, 48, random)
test_clips, test_label = make_clips(NEW_DIRECTIONS, 256, random)


def train(network, clips, label, epochs, learning_rate):
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    network.fit(clips, label, batch_size=16, epochs=epochs, verbose=0)


"""
## A student file

This stands for a training run.
"""

trained = kd_keras.TSM(
    num_classes=len(OLD_DIRECTIONS),
    num_frames=NUM_FRAMES,
    image_size=SIZE_PX,
    segments=NUM_FRAMES,
    network="small",
    width=0.25,
    batch_norm_momentum=0.9,
)
train(trained, old_clips, old_label, epochs=6, learning_rate=3e-3)
folder = tempfile.TemporaryDirectory()
path = pathlib.Path(folder.name) / "student.keras"
trained.save(path)

"""
## Another head

`load_student` needs no custom objects. The layer before the head has the same name in
all networks of one kind: `conv5_block1_out` in this one, `Mixed_5c` in I3D.
`student.summary()` lists the layers of a student.
"""

student = kd_keras.load_student(path)
body = keras.Model(
    student.input, student.get_layer("conv5_block1_out").output, name="body"
)
clip = keras.Input(student.input.shape[1:], name="clip")
# The moving averages of BatchNorm stay as they are, also when the body is trained.
features = body(clip, training=False)
pooled = keras.layers.GlobalAveragePooling3D()(features)
logits = keras.layers.Dense(len(NEW_DIRECTIONS), name="new_head")(pooled)
model = keras.Model(clip, logits, name="fine_tuned")

"""
## First the head, then everything

While the head is new, its gradients would spoil the body. So the body rests at first.
Then the whole network is trained at a tenth of the learning rate.
"""

body.trainable = False
train(model, new_clips, new_label, epochs=20, learning_rate=1e-2)
head_top1 = model.evaluate(test_clips, test_label, verbose=0)[1]
print(f"New head, same body: {head_top1:.2f} (chance {1 / len(NEW_DIRECTIONS):.2f})")

body.trainable = True
train(model, new_clips, new_label, epochs=5, learning_rate=1e-3)
tuned_top1 = model.evaluate(test_clips, test_label, verbose=0)[1]
print(f"All layers fine-tuned: {tuned_top1:.2f}")

"""
The result is again a model of built-in layers, which `load_student` loads.
"""

tuned_path = pathlib.Path(folder.name) / "fine_tuned.keras"
model.save(tuned_path)
loaded = kd_keras.load_student(tuned_path)
same = np.allclose(loaded(test_clips[:8]), model(test_clips[:8]), atol=1e-5)
print(f"The saved model gives the same logits: {same}")
folder.cleanup()
