"""The feature loss in Keras's own distiller, on every Keras backend."""

import keras
import numpy as np
import pytest

import kd_keras


def _network(strides=1, channels=6, name=None):
    clip = keras.Input((4, 8, 8, 3))
    x = keras.layers.Conv3D(channels, 3, strides, activation="relu", name="map")(clip)
    x = keras.layers.GlobalAveragePooling3D(name="pooled")(x)
    return keras.Model(clip, keras.layers.Dense(5)(x), name=name)


def _distiller(loss, **weights):
    return keras.distillation.Distiller(
        teacher=_network(name="teacher"),
        student=_network(strides=2, name="student"),
        distillation_losses=loss,
        **weights,
    )


def _map_of(model, clips):
    return keras.Model(model.input, model.get_layer("map").output)(clips)


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(0).uniform(-1, 1, (4, 4, 8, 8, 3)).astype("float32")


def test_keras_distiller_adds_the_loss_of_the_two_maps(clips):
    loss = kd_keras.AttentionalPoolingLoss(alpha=2.0, distance="huber")
    distiller = _distiller(
        kd_keras.AttentionalPoolingDistillation(loss, "map"), student_loss_weight=0.25
    )
    label_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(optimizer="sgd", loss=label_loss)
    label = np.array([0, 3, 4, 1])
    teacher_map, student_map = (
        _map_of(model, clips) for model in (distiller.teacher, distiller.student)
    )
    assert tuple(teacher_map.shape[1:4]) != tuple(student_map.shape[1:4])
    feature, labels = (
        float(keras.ops.convert_to_numpy(value))
        for value in (
            loss(teacher_map, student_map),
            label_loss(label, distiller.student(clips)),
        )
    )
    frozen = distiller.teacher.get_weights()
    first = distiller.student.get_weights()
    history = distiller.fit(clips, label, batch_size=4, verbose=0).history
    assert history["distillation_loss"][0] == pytest.approx(feature, rel=1e-5)
    total = 0.25 * labels + 0.75 * feature
    assert history["total_loss"][0] == pytest.approx(total, rel=1e-5)
    for before, after in zip(frozen, distiller.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    moved = zip(first, distiller.student.get_weights(), strict=True)
    assert all(np.any(before != after) for before, after in moved)


def test_the_loss_is_saved_with_its_arguments(tmp_path):
    loss = kd_keras.AttentionalPoolingLoss(alpha=3.0, direction="teacher_to_student")
    made = kd_keras.AttentionalPoolingDistillation(loss, "map", "map")
    config = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is kd_keras.AttentionalPoolingDistillation
    assert again.get_config() == made.get_config()
    assert (again.loss.alpha, again.loss.direction) == (3.0, "teacher_to_student")
    distiller = _distiller(made)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.distillation_losses[0].get_config() == made.get_config()


def test_what_cannot_be_compared_is_refused_before_training():
    with pytest.raises(ValueError, match="FeatureDistillation takes any loss"):
        kd_keras.AttentionalPoolingDistillation(keras.losses.Huber(), "map")
    with pytest.raises(ValueError, match="`teacher_layer_name` must name the layer"):
        kd_keras.AttentionalPoolingDistillation()
    with pytest.raises(ValueError, match="least one axis of positions"):
        _distiller(kd_keras.AttentionalPoolingDistillation(None, "map", "pooled"))
    with pytest.raises(ValueError, match="No such layer: other"):
        _distiller(kd_keras.AttentionalPoolingDistillation(None, "map", "other"))
    with pytest.raises(ValueError, match="project the student's map with a 1x1x1"):
        keras.distillation.Distiller(
            teacher=_network(channels=6),
            student=_network(channels=4),
            distillation_losses=kd_keras.AttentionalPoolingDistillation(None, "map"),
        )
