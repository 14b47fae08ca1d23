"""2D and factored networks, served from a Session as TF Serving does."""

import numpy as np
import tensorflow as tf

from export import saved_model
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from kd_keras.models import TSM, R2Plus1D

SPEC = ExportSpec(("cut", "wash", "pour"), ClipFormat(num_frames=4, image_size=16))


def test_a_session_gives_the_students_probabilities(tmp_path):
    # One inside of the other: a single export for both.
    frames_network = TSM(6, 4, 16, width=0.1, segments=2, network="small")
    student = R2Plus1D(3, 4, 16, width=0.03, attributes=frames_network)
    path = saved_model.export_student(student, tmp_path / "student", SPEC)
    random = np.random.default_rng(0)
    clips = [random.integers(0, 256, (batch, 4, 16, 16, 3), "u1") for batch in (1, 3)]
    expected = [
        tf.nn.softmax(student(clip / 127.5 - 1, training=False)) for clip in clips
    ]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        signature = loaded.signature_def["serving_default"]
        for clip, probabilities in zip(clips, expected, strict=True):
            found = session.run(
                signature.outputs["probabilities"].name,
                {signature.inputs["frames"].name: clip},
            )
            np.testing.assert_allclose(found, probabilities, rtol=1e-4)
