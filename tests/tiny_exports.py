"""Students that are exported in tests, and what a Session makes of an export."""

import functools
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat

CLASSES = ("cut", "öffnen", "wash hands", "pour, slowly")


def tiny_student(num_classes=4, **arguments):
    """Loads and exports faster than I3D, for what does not depend on the network."""
    clip = keras.Input((8, 16, 16, 3))
    x = keras.layers.Conv3D(4, 3, strides=4, activation="relu", **arguments)(clip)
    x = keras.layers.BatchNormalization(**arguments)(x)
    x = keras.layers.GlobalAveragePooling3D(**arguments)(x)
    return keras.Model(clip, keras.layers.Dense(num_classes, **arguments)(x))


TINY_SPEC = ExportSpec(CLASSES, ClipFormat(8, 16))


@functools.cache
def session_of(path):
    """A Session, which is what TF Serving has, and what was loaded into it."""
    with tf.Graph().as_default():
        session = tf.compat.v1.Session()
        return session, tf.compat.v1.saved_model.loader.load(session, ["serve"], path)


def as_served(path, frames):
    session, loaded = session_of(path)
    signature = loaded.signature_def["serving_default"]
    fetches = {name: info.name for name, info in signature.outputs.items()}
    return session.run(fetches, {signature.inputs["frames"].name: frames})


def random_frames(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def listing(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def damage_weights(folder):
    (data,) = pathlib.Path(folder).glob("variables/variables.data-*")
    values = bytearray(data.read_bytes())
    values[len(values) // 2] ^= 0x40
    data.write_bytes(values)
