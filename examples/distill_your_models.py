"""
Title: Distill your own models
Author: kd_keras authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Trains a network to anticipate a movement, from few labels and a teacher.
Accelerator: None
"""

"""
## Introduction

A square creeps in one of four directions for a moment, then runs off in the same
direction. Noise hides the creeping well. Nothing hides the running.

Our student sees the creeping alone and has to say where the square will run. Few of
the clips have labels. A student that learns from these alone is right in about half of
the cases. But they suffice to learn to recognize the running. So we train a teacher on
the clips of the running, and it then teaches the student on all clips, labeled or not.

The program takes about 25 seconds on two CPU cores.

## Setup

We import `kd_keras` before Keras and TensorFlow. It then has TensorFlow use oneDNN,
which computes 3D convolutions much faster on many processors.
"""

import kd_keras  # isort: skip

import keras
import numpy as np
import tensorflow as tf

keras.utils.set_random_seed(0)

NUM_TRAIN, NUM_LABELED, NUM_TEST = 512, 16, 256
BATCH_SIZE = 32

"""
## The clips

A clip has 8 frames of 16x16 pixels and one channel, with values from -1 to 1. The
observed clip ends at the moment at which the future clip begins.
"""

NUM_FRAMES, SIZE_PX, SQUARE_PX = 8, 16, 4
DIRECTIONS = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])
CREEPING_PX, RUNNING_PX = 0.25, 1.0  # Per frame.


def draw(centers, random):
    """Draws squares at centers (clips, frames, 2), given in pixels."""
    distance = np.abs(np.arange(SIZE_PX)[:, None] - centers[..., None, :])
    # A pixel at the border of a square is covered in part.
    covered = np.clip((SQUARE_PX + 1) / 2 - distance, 0, 1)
    squares = covered[..., :, None, 0] * covered[..., None, :, 1]
    noise = random.normal(scale=0.3, size=squares.shape)
    return np.clip(2 * squares - 1 + noise, -1, 1)[..., None].astype("float32")


def make_clips(count, random):
    """Returns observed clips, future clips and labels."""
    label = random.integers(len(DIRECTIONS), size=count)
    direction = DIRECTIONS[label][:, None]
    frame = np.arange(NUM_FRAMES)[None, :, None]
    start = random.uniform(5, SIZE_PX - 6, size=(count, 1, 2))
    observed = start + CREEPING_PX * frame * direction
    future = observed[:, -1:] + RUNNING_PX * frame * direction
    return draw(observed, random), draw(future, random), label


random = np.random.default_rng(0)
observed, future, label = make_clips(NUM_TRAIN, random)
test_observed, test_future, test_label = make_clips(NUM_TEST, random)
labeled = np.arange(NUM_TRAIN) < NUM_LABELED

"""
## The networks

Teacher and student are ordinary functional Keras models from a clip to logits. Both
have a layer `map`, whose outputs will be compared. They could differ in everything
except the classes: `Distiller` takes another layer of the teacher as
`teacher_feature_layer`, and projects the student's map if it has another number of
channels.
"""


def build_network(name):
    clip = keras.Input((NUM_FRAMES, SIZE_PX, SIZE_PX, 1))
    x = keras.layers.Conv3D(8, 3, (1, 2, 2), "same", activation="relu")(clip)
    x = keras.layers.Conv3D(16, 3, 2, "same", activation="relu")(x)
    x = keras.layers.Conv3D(16, 3, padding="same")(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.ReLU(name="map")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(clip, keras.layers.Dense(len(DIRECTIONS))(x), name=name)


def train_on_labels(network, clips, epochs):
    """Trains a network on the labeled clips alone."""
    network.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    network.fit(
        clips[labeled],
        label[labeled],
        batch_size=BATCH_SIZE,
        epochs=epochs,
        verbose=0,
    )
    return network


"""
## Teacher and baseline

The teacher learns to recognize the running from 16 labeled clips. A student that has
the same labels, and nothing else, is what we want to surpass.
"""

teacher = train_on_labels(build_network("teacher"), future, epochs=80)
teacher_top1 = teacher.evaluate(test_future, test_label, verbose=0)[1]
print(f"Teacher, on future clips: {teacher_top1:.2f}")

baseline = train_on_labels(build_network("baseline"), observed, epochs=80)
baseline_top1 = baseline.evaluate(test_observed, test_label, verbose=0)[1]
print(f"Student from labels alone, on observed clips: {baseline_top1:.2f}")

"""
## Distillation

A batch is a dict. Where `labeled` is false the label is ignored, and the teacher's
prediction for the future clip takes its place. The feature loss compares the maps of
all clips. With `feature_weight="auto"` nobody has to search for its weight: it
follows the gradients.
"""

batches = tf.data.Dataset.from_tensor_slices(
    {"observed": observed, "future": future, "label": label, "labeled": labeled}
)
batches = batches.shuffle(NUM_TRAIN, seed=0).batch(BATCH_SIZE, drop_remainder=True)

student = build_network("student")
distiller = kd_keras.Distiller(
    student,
    teacher,
    feature_loss=kd_keras.AttentionalPoolingLoss(),
    feature_weight="auto",
    feature_layer="map",
)
distiller.compile(optimizer=keras.optimizers.Adam(3e-3))
history = distiller.fit(batches, epochs=12, shuffle=False, verbose=0).history

first, last = history["feature_loss"][0], history["feature_loss"][-1]
print(f"Feature loss: {first:.2f} in the first epoch, {last:.2f} in the last")

"""
## Results

The student is a model of its own, without the teacher: it is evaluated, saved and
served as any other.
"""

prediction = student.predict(test_observed, verbose=0).argmax(-1)
student_top1 = np.mean(prediction == test_label)
print(f"Distilled student, on observed clips: {student_top1:.2f}")
print(f"Chance: {1 / len(DIRECTIONS):.2f}")
