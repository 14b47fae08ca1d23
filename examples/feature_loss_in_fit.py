"""
Title: The feature loss in a plain fit
Author: kd_keras authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Uses AttentionalPoolingLoss as the loss of one output of any Keras model.
Accelerator: None
"""

"""
## Introduction

`AttentionalPoolingLoss` compares two feature maps whose contents may have moved. It
is a `keras.losses.Loss` and needs nothing else of this library. This example uses it
in `compile` and `fit`, on pictures rather than clips, with any Keras backend.

The program takes about 15 seconds on two CPU cores.

## Setup
"""

import kd_keras  # isort: skip

import keras
import numpy as np

keras.utils.set_random_seed(0)

NUM_TRAIN, NUM_LABELED, NUM_TEST = 384, 32, 256
SIZE_PX, NUM_CLASSES = 16, 4

"""
## What the loss compares

A map is an array (batch, ..., channels), and each of its positions is a token. Here
both maps hold the same eight tokens, in other places. `DirectLoss` compares the
tokens place by place and finds them different. `AttentionalPoolingLoss` asks of every
token how much of it each map holds, and finds no difference.
"""

tokens = np.eye(8, dtype="float32").reshape(1, 2, 4, 8)
moved_tokens = np.roll(tokens, 1, axis=2)
direct_value = float(kd_keras.DirectLoss()(tokens, moved_tokens))
attentional_value = float(kd_keras.AttentionalPoolingLoss()(tokens, moved_tokens))
print(f"The same tokens elsewhere: DirectLoss {direct_value:.2f},", end=" ")
print(f"AttentionalPoolingLoss {attentional_value:.2f}")

"""
## The pictures

There are four kinds of texture, in a patch somewhere in a noisy picture. The student
sees the picture after the patch has moved.
"""


def make_textures():
    """Returns patches (classes, 8, 8): two kinds of stripes, a grid, a plain patch."""
    row, column = np.mgrid[:8, :8] // 2 % 2
    return 2.0 * np.stack([row, column, row ^ column, np.ones_like(row)]) - 1


def paint(label, random):
    """Paints a patch of each class at a random place."""
    pictures = random.normal(scale=0.5, size=(len(label), SIZE_PX, SIZE_PX, 1))
    textures = make_textures()
    for picture, kind in zip(pictures, label, strict=True):
        top, left = random.integers(SIZE_PX - 7, size=2)
        picture[top : top + 8, left : left + 8, 0] += textures[kind]
    return pictures.astype("float32")


random = np.random.default_rng(0)
label = random.integers(NUM_CLASSES, size=NUM_TRAIN)
test_label = random.integers(NUM_CLASSES, size=NUM_TEST)
before, after = paint(label, random), paint(label, random)
test_after = paint(test_label, random)

"""
## The networks

The model has two outputs: the logits, and the map that is compared.
"""


def build_network(name):
    picture = keras.Input((SIZE_PX, SIZE_PX, 1))
    x = keras.layers.Conv2D(16, 3, 2, "same", activation="relu")(picture)
    x = keras.layers.Conv2D(16, 3, 2, "same")(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    feature_map = keras.layers.ReLU(name="map")(x)
    x = keras.layers.GlobalMaxPooling2D()(feature_map)
    logits = keras.layers.Dense(NUM_CLASSES, name="logits")(x)
    return keras.Model(picture, {"logits": logits, "map": feature_map}, name=name)


label_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

"""
## The teacher

It learns from the pictures before the movement, and from all labels.
"""

teacher = build_network("teacher")
classifier = keras.Model(teacher.input, teacher.get_layer("logits").output)
classifier.compile(optimizer=keras.optimizers.Adam(1e-2), loss=label_loss)
classifier.fit(before, label, epochs=10, verbose=0)
teacher_map = teacher.predict(before, verbose=0)["map"]

"""
## The student

One loss belongs to each output, and the teacher's maps are simply targets. Few
pictures have labels for the student: a sample weight of 0 leaves the others out of
the label loss. The feature loss uses all of them.
"""

student = build_network("student")
student.compile(
    optimizer=keras.optimizers.Adam(1e-2),
    loss={"logits": label_loss, "map": kd_keras.AttentionalPoolingLoss()},
    loss_weights={"logits": 1.0, "map": 0.1},
)
is_labeled = (np.arange(NUM_TRAIN) < NUM_LABELED).astype("float32")
history = student.fit(
    after,
    {"logits": label, "map": teacher_map},
    sample_weight={"logits": is_labeled, "map": np.ones(NUM_TRAIN, "float32")},
    epochs=20,
    verbose=0,
).history

first, last = history["map_loss"][0], history["map_loss"][-1]
print(f"Feature loss: {first:.2f} in the first epoch, {last:.2f} in the last")
logits = student.predict(test_after, verbose=0)["logits"]
student_top1 = np.mean(logits.argmax(-1) == test_label)
print(f"Student, on new pictures: {student_top1:.2f} (chance {1 / NUM_CLASSES:.2f})")
