"""
Title: The feature loss in Keras's own distiller
Author: kd_keras authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Uses AttentionalPoolingDistillation with keras.distillation.Distiller.
Accelerator: None
"""

"""
## Introduction

`keras.distillation.Distiller` trains a small network from a large one that sees the
same clip. `AttentionalPoolingDistillation` is one of its losses. It compares two maps
even if they have different sizes, so the student may use a coarser grid than the
teacher. This example runs on any Keras backend.

If the student sees an earlier clip than the teacher, or if some clips have no label,
use `kd_keras.Distiller`: the example `distill_your_models` shows how.

The program takes about 15 seconds on two CPU cores.

## Setup
"""

import kd_keras  # isort: skip

import keras
import numpy as np

keras.utils.set_random_seed(0)

NUM_TRAIN, NUM_TEST = 384, 256
NUM_FRAMES, SIZE_PX, NUM_CLASSES = 6, 12, 4

"""
## The clips

A bright square moves left, right, up or down. The direction is the class.
"""

DIRECTIONS = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)])


def draw_clips(label, random):
    """Draws a square that moves by a pixel from frame to frame, in noise."""
    shape = (len(label), NUM_FRAMES, SIZE_PX, SIZE_PX, 1)
    clips = random.normal(scale=0.3, size=shape)
    for clip, direction in zip(clips, DIRECTIONS[label], strict=True):
        middle = random.integers(4, SIZE_PX - 6, size=2)
        for time, frame in enumerate(clip):
            top, left = middle + direction * (time - NUM_FRAMES // 2)
            frame[max(top, 0) : top + 3, max(left, 0) : left + 3] += 1
    return clips.astype("float32")


random = np.random.default_rng(0)
label = random.integers(NUM_CLASSES, size=NUM_TRAIN)
test_label = random.integers(NUM_CLASSES, size=NUM_TEST)
clips, test_clips = draw_clips(label, random), draw_clips(test_label, random)

"""
## The networks

The student's convolution has a stride, so its map has an eighth of the positions. Both
maps have the same number of channels.
"""


def build_network(name, strides):
    clip = keras.Input((NUM_FRAMES, SIZE_PX, SIZE_PX, 1))
    x = keras.layers.Conv3D(12, 3, strides, "same", activation="relu")(clip)
    x = keras.layers.Conv3D(12, 3, 1, "same")(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    feature_map = keras.layers.ReLU(name="map")(x)
    x = keras.layers.GlobalMaxPooling3D()(feature_map)
    logits = keras.layers.Dense(NUM_CLASSES, name="logits")(x)
    return keras.Model(clip, logits, name=name)


teacher = build_network("teacher", strides=1)
student = build_network("student", strides=2)
label_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

"""
## The teacher

It learns from labels.
"""

teacher.compile(optimizer=keras.optimizers.Adam(1e-2), loss=label_loss)
teacher.fit(clips, label, epochs=8, verbose=0)

"""
## The student

It learns from the teacher alone: `student_loss_weight=0.0` leaves the labels out. One
of the two losses compares the predictions, the other one the maps. `KLDivergence` is
given as an object because Keras 3.15, given its name, takes no softmax of the logits.
"""


def distillation_value():
    """Returns the loss between the two networks' maps of the first clips."""
    maps = (
        keras.Model(network.input, network.get_layer("map").output)(clips[:64])
        for network in (teacher, student)
    )
    return float(map_loss.compute_loss(*maps))


map_loss = kd_keras.AttentionalPoolingDistillation(teacher_layer_name="map")
distiller = keras.distillation.Distiller(
    teacher=teacher,
    student=student,
    distillation_losses=[
        keras.distillation.LogitsDistillation(2.0, keras.losses.KLDivergence()),
        map_loss,
    ],
    distillation_loss_weights=[1.0, 0.1],
    student_loss_weight=0.0,
)
distiller.compile(optimizer=keras.optimizers.Adam(1e-2), loss=label_loss)
first = distillation_value()
distiller.fit(clips, epochs=6, verbose=0)
last = distillation_value()

print(f"Feature loss: {first:.2f} before training, {last:.2f} after it")
teacher_top1, student_top1 = (
    np.mean(network.predict(test_clips, verbose=0).argmax(-1) == test_label)
    for network in (teacher, student)
)
print(f"Teacher, on new clips: {teacher_top1:.2f}")
print(f"Student, on new clips: {student_top1:.2f} (chance {1 / NUM_CLASSES:.2f})")
