"""A teacher that --teacher names."""

import keras
import numpy as np
from keras import layers

from tests import tiny_training
from train.teacher import load_teacher


def test_one_that_ends_in_softmax_answers_in_logits(tmp_path):
    keras.utils.set_random_seed(0)
    clip = keras.Input((None, None, None, 3))
    x = layers.Conv3D(4, 3, padding="same", name="map")(clip)
    x = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling3D()(x))
    powers = keras.ops.exp(x)
    for name, output in (
        ("softmax", x),
        ("by_hand", powers / keras.ops.sum(powers, axis=-1, keepdims=True)),
    ):
        given = keras.Model(clip, output, name=name)
        path = tmp_path / f"{name}.keras"
        given.save(path)
        config = tiny_training.config(
            f"--teacher={path}", "--num_frames=9", "--image_size=16"
        )
        teacher = load_teacher(config, ("open", "shut"))
        clips = np.random.default_rng(0).uniform(-1, 1, (3, 9, 16, 16, 3))
        logits = teacher(clips, training=False)
        np.testing.assert_allclose(keras.ops.softmax(logits), given(clips), rtol=1e-5)
        assert teacher.get_layer("map") and teacher.name == name
