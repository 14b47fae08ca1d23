"""The Distiller against the equations in NumPy, and what it may and may not move."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kd_keras

_CLASSES, _BATCH = 6, 4


def _network(seed, width=0.125, image_size=32, start="Mixed_5b"):
    """The end of an I3D, which is quicker to trace; all of it if `start` is None."""
    keras.utils.set_random_seed(seed)
    return kd_keras.I3D(
        num_classes=_CLASSES,
        num_frames=9,
        image_size=image_size,
        width=width,
        batch_norm_momentum=0.9,
        start=start,
    )


def _batch(student, teacher):
    random = np.random.default_rng(0)

    def inputs(network):
        shape = (_BATCH, *network.input_shape[1:])
        return random.uniform(-1, 1, shape).astype("float32")

    return {
        "observed": inputs(student),
        "future": inputs(teacher),
        "label": random.integers(0, _CLASSES, _BATCH).astype("int32"),
        "labeled": np.array([True, False, True, False]),
    }


def _compiled(student, teacher, *loss, **arguments):
    distiller = kd_keras.Distiller(student, teacher, *loss, **arguments)
    distiller.compile(optimizer=keras.optimizers.SGD(0.1))
    return distiller


def _sequential(*first):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            *first,
            keras.layers.Conv3D(5, 3, activation="relu", name="map"),
            keras.layers.GlobalAveragePooling3D(),
            keras.layers.Dense(_CLASSES),
        ]
    )


def _softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _values(model):
    return [np.array(weight) for weight in model.weights]


def _moved(before, model):
    return any(
        not np.array_equal(old, new)
        for old, new in zip(before, _values(model), strict=True)
    )


def _map(model, clips, layer="Mixed_5c"):
    reader = keras.Model(model.input, model.get_layer(layer).output)
    maps = np.asarray(reader(clips, training=False), "float64")
    return maps.reshape(len(clips), -1, maps.shape[-1])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_terms_match_numpy(temperature):
    student, teacher = _network(1), _network(2)
    batch = _batch(student, teacher)
    distiller = _compiled(
        student,
        teacher,
        feature_loss=kd_keras.DirectLoss(tokens="sum"),
        feature_weight=0.3,
        temperature=temperature,
    )
    found = {k: float(v) for k, v in distiller.test_step(batch).items()}

    logits = np.asarray(student(batch["observed"], training=False), "float64")
    answers = np.asarray(teacher(batch["future"], training=False), "float64")
    divergences = []
    for example in range(_BATCH):
        if batch["labeled"][example]:
            divergence = -np.log(_softmax(logits[example])[batch["label"][example]])
        else:
            p = _softmax(answers[example] / temperature)
            q = _softmax(logits[example] / temperature)
            divergence = temperature**2 * np.sum(p * np.log(p / q))
        divergences.append(divergence)
    gap = _map(teacher, batch["future"]) - _map(student, batch["observed"])
    feature = np.mean(np.sum(gap**2, axis=(1, 2)))
    assert found["label_loss"] == pytest.approx(np.mean(divergences[::2]), rel=1e-4)
    assert found["pseudo_label_loss"] == pytest.approx(
        np.mean(divergences[1::2]), rel=1e-3, abs=1e-6
    )
    assert found["feature_loss"] == pytest.approx(feature, rel=1e-4)
    total = np.mean(divergences) + 0.3 * feature
    assert found["loss"] == pytest.approx(total, rel=1e-4)
    labeled, right = batch["labeled"], logits.argmax(1) == batch["label"]
    assert found["top1"] == pytest.approx(right[labeled].mean())
    same = logits.argmax(1) == answers.argmax(1)
    assert found["agreement"] == pytest.approx(same.mean())


def test_a_step_moves_the_student_alone_and_the_feature_loss_reaches_it():
    student, teacher = _network(1), _network(2)
    batch = _batch(student, teacher)
    distiller = _compiled(student, teacher, kd_keras.AttentionalPoolingLoss())
    before, teacher_before = _values(student), _values(teacher)
    losses = []
    for _ in range(8):
        distiller.reset_metrics()
        losses.append(float(distiller.train_step(batch)["feature_loss"]))
    assert _moved(before, student)
    assert not _moved(teacher_before, teacher)
    assert losses[-1] < 0.5 * losses[0]
    own = {id(weight) for weight in student.weights}
    metrics = {id(v) for metric in distiller.metrics for v in metric.variables}
    assert {id(weight) for weight in distiller.weights} <= own | metrics


def test_fit_trains_and_saves_a_student_that_plain_keras_loads(tmp_path):
    student, teacher = _network(1, start=None), _network(2, start=None)
    batch = _batch(student, teacher)
    distiller = _compiled(student, teacher, kd_keras.AttentionalPoolingLoss())
    data = tf.data.Dataset.from_tensor_slices(batch).batch(3)
    history = distiller.fit(data, epochs=2, verbose=0, validation_data=data).history
    assert {"loss", "val_loss", "top1", "top5", "class_mean_recall"} <= set(history)
    distiller.student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(
        loaded(batch["observed"], training=False),
        distiller(batch["observed"], training=False),
    )


def test_maps_of_other_sizes_and_channels_are_compared_through_a_projection():
    student = _network(1, start=None)
    teacher = _network(2, width=0.25, image_size=64, start=None)
    batch = _batch(student, teacher)
    loss = kd_keras.AttentionalPoolingLoss()
    distiller = _compiled(student, teacher, loss, feature_layer="Mixed_4f")
    assert distiller.projections[0].kernel.shape == (104, 208)
    before = np.array(distiller.projections[0].kernel)
    distiller.train_step(batch)
    assert not np.array_equal(before, distiller.projections[0].kernel)


@pytest.mark.parametrize("channels", [[3, 4], []])
def test_stored_maps_need_the_channels_of_each_layer(channels):
    with pytest.raises(
        ValueError, match=r"one number for each compared .*Mixed_5c. Got \["
    ):
        kd_keras.Distiller(
            _network(1),
            None,
            kd_keras.DirectLoss(),
            feature_channels=channels,
        )
    loss, seven = kd_keras.DirectLoss(), np.int64(7)
    told = kd_keras.Distiller(_network(1), None, loss, feature_channels=seven)
    assert told.projections[0].units == 7


def test_maps_of_other_networks_are_compared_at_layers_of_other_names():
    keras.utils.set_random_seed(1)
    student = kd_keras.TSM(_CLASSES, 9, 32, width=0.25, segments=3, network="small")
    teacher = _network(2, start=None)
    batch = _batch(student, teacher)
    layers = {
        "feature_layer": "conv5_block1_out",
        "teacher_feature_layer": "Mixed_5c",
    }
    loss = kd_keras.AttentionalPoolingLoss()
    distiller = _compiled(student, teacher, loss, **layers)
    assert distiller.projections[0].kernel.shape == (64, 128)
    found = float(distiller.test_step(batch)["feature_loss"])
    kernel, bias = (np.asarray(w, "float64") for w in distiller.projections[0].weights)
    maps = _map(student, batch["observed"], "conv5_block1_out") @ kernel + bias
    expected = loss(_map(teacher, batch["future"]).astype("f4"), maps.astype("f4"))
    assert found == pytest.approx(float(expected), rel=1e-4)
    before = np.array(student.get_layer("conv2_block1_1_conv").kernel)
    distiller.train_step(batch)
    assert not np.array_equal(before, student.get_layer("conv2_block1_1_conv").kernel)
    with pytest.raises(ValueError, match="no layer 'conv5_block1_out'"):
        _compiled(student, teacher, loss, feature_layer="conv5_block1_out")


def test_stored_targets_stand_in_for_the_teacher():
    teacher = _network(2)
    batch = _batch(teacher, teacher)
    stored = {name: batch[name] for name in ("observed", "label", "labeled")}
    stored["teacher_probabilities"] = _softmax(
        np.asarray(teacher(batch["future"], training=False))
    )
    shape = teacher.get_layer("Mixed_5c").output.shape[1:]
    features = _map(teacher, batch["future"]).astype("float32")
    stored["teacher_features"] = features.reshape(_BATCH, *shape)

    loss = kd_keras.AttentionalPoolingLoss()
    students = [_network(1), _network(1)]
    with_teacher = _compiled(students[0], teacher, loss)
    without = _compiled(students[1], None, loss)
    expected, found = with_teacher.train_step(batch), without.train_step(stored)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    with pytest.raises(ValueError, match="teacher_probabilities"):
        without.train_step(batch)
    maps = stored.pop("teacher_features")
    again = _compiled(_network(1), None, loss).train_step(
        {**stored, "teacher_features": (maps,)}
    )
    np.testing.assert_allclose(again["loss"], expected["loss"], rtol=1e-4)
    with pytest.raises(ValueError, match="teacher_features"):
        without.train_step(stored)


def test_the_feature_loss_is_compiled_by_xla():
    student, teacher = _network(1), _network(2)
    batch = _batch(student, teacher)
    distiller = _compiled(student, teacher, kd_keras.AttentionalPoolingLoss())
    graph = tf.function(distiller.train_step).get_concrete_function(
        {name: tf.TensorSpec(value.shape, value.dtype) for name, value in batch.items()}
    )
    compiled = [
        op.name
        for op in graph.graph.get_operations()
        if "_XlaMustCompile" in op.node_def.attr and op.get_attr("_XlaMustCompile")
    ]
    # Forward and backward.
    assert len(compiled) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature_weight": -1.0}, "feature_weight"),
        ({"feature_weight": float("nan")}, "feature_weight must be finite"),
        ({"feature_weight": float("inf")}, "feature_weight must be finite"),
        ({"feature_weight": None}, "feature_weight must be a number"),
        ({"feature_weight": [1.0]}, "feature_weight must be a number"),
        ({"feature_weight": "auto", "gradient_ratio": "a"}, "ratio must be a number"),
        ({"feature_weight": "auto", "gradient_ratio": 0.0}, "ratio must be finite"),
        ({"feature_loss": "mse"}, "feature_loss must be a keras.losses.Loss"),
        ({"feature_loss": max}, "feature_loss must be a keras.losses.Loss"),
        ({"feature_layer": "Mixed_9z"}, "Mixed_9z"),
        ({"feature_layer": 5}, "layer is given by its name.* Got 5"),
        ({"feature_layer": ["Mixed_5c", 5]}, "layer is given by its name"),
        ({"feature_layer": ()}, "needs the name of a feature_layer"),
        ({"feature_layer": (), "feature_weight": "auto"}, "needs the name of a"),
        ({"temperature": 0.0}, "temperature"),
        ({}, "never trained, and .* weights. Got [0-9]+ that both have"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    network = _network(1)
    with pytest.raises(ValueError, match=message):
        kd_keras.Distiller(
            network,
            network,
            **{"feature_loss": kd_keras.AttentionalPoolingLoss(), **arguments},
        )


def test_networks_of_other_classes_are_refused():
    other = kd_keras.I3D(num_classes=3, num_frames=9, image_size=32, width=0.02)
    with pytest.raises(ValueError, match="same classes"):
        kd_keras.Distiller(_network(1), other)


def _tiny_network(seed, end=lambda x: x):
    keras.utils.set_random_seed(seed)
    clip = keras.Input((2, 4, 4, 1))
    x = keras.layers.Conv3D(3, 1, name="map")(clip)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(clip, end(keras.layers.Dense(_CLASSES)(x)))


def test_a_teacher_that_ends_in_softmax_gets_no_second_one():
    teacher = _tiny_network(1)
    batch = _batch(teacher, teacher)
    sure = keras.Model(teacher.input, keras.layers.Softmax()(teacher.output))
    losses = [
        _compiled(
            _tiny_network(2), each, kd_keras.DirectLoss(), feature_layer="map"
        ).test_step(batch)
        for each in (teacher, sure)
    ]
    for name, loss in losses[0].items():
        np.testing.assert_allclose(losses[1][name], loss, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("end", [keras.layers.Softmax(), keras.ops.sigmoid])
def test_a_student_has_to_end_in_logits(end):
    with pytest.raises(ValueError, match="ends in a (softmax|sigmoid).*[Rr]emove"):
        kd_keras.Distiller(_tiny_network(0, end), None)


def test_a_sequential_learns_what_a_functional_model_of_its_layers_learns():
    student, teacher, same = (_sequential(keras.Input((4, 8, 8, 3))) for _ in range(3))
    functional = keras.Model(same.inputs[0], same.outputs[0])
    batch = _batch(student, teacher)
    loss = kd_keras.AttentionalPoolingLoss()
    for each in (student, functional):
        distiller = _compiled(each, teacher, loss, feature_layer="map")
        distiller.fit(batch, verbose=0)
    before = _values(teacher)
    assert _moved(before, student)
    for found, expected in zip(_values(student), _values(functional), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


class _Written(keras.Model):
    def call(self, clips):
        return clips


@pytest.mark.parametrize("network", [_sequential, _Written, str])
def test_a_network_without_a_graph_is_refused_by_its_role(network):
    known = _sequential(keras.Input((4, 8, 8, 3)))
    with pytest.raises(ValueError, match="The student .* must be a functional"):
        kd_keras.Distiller(network(), known)
    with pytest.raises(ValueError, match="The teacher .* must be a functional"):
        kd_keras.Distiller(known, network())


def test_one_tensor_may_come_in_a_list_and_several_are_refused():
    student, teacher = _tiny_network(1), _tiny_network(2)
    batch = _batch(student, teacher)
    layer = {"feature_layer": "map"}
    loss = kd_keras.DirectLoss()
    expected = _compiled(student, teacher, loss, **layer).test_step(batch)
    listed = [keras.Model([each.input], [each.output]) for each in (student, teacher)]
    found = _compiled(*listed, loss, **layer).test_step(batch)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    feature_map = student.get_layer("map").output
    several = keras.Model(student.input, {"logits": student.output, "map": feature_map})
    with pytest.raises(ValueError, match="The student .* one output.* Got 1 and 2"):
        kd_keras.Distiller(several, teacher)
    with pytest.raises(ValueError, match="The teacher .* one output.* Got 1 and 2"):
        kd_keras.Distiller(student, several)


@pytest.mark.parametrize("name", ["loss", "loss_weights", "metrics"])
def test_losses_and_metrics_that_would_not_be_used_are_refused(name):
    distiller = kd_keras.Distiller(_tiny_network(1), _tiny_network(2))
    with pytest.raises(ValueError, match=f"would not use {name}. .* leave them out"):
        distiller.compile("sgd", **{name: ["accuracy"]})


def test_what_to_save_instead_of_a_distiller_is_said(tmp_path):
    student = _tiny_network(1)
    distiller = _compiled(student, _tiny_network(2))
    with pytest.raises(NotImplementedError, match=r"distiller\.student\.save"):
        distiller.save(tmp_path / "distiller.keras")
    distiller.save_weights(tmp_path / "distiller.weights.h5")
    again = _compiled(_tiny_network(3), _tiny_network(2))
    again.load_weights(tmp_path / "distiller.weights.h5")
    for found, expected in zip(_values(again.student), _values(student), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_example_counts_the_same_in_the_loss_of_an_evaluation():
    distiller = _compiled(_tiny_network(1), _tiny_network(2))
    batch = _batch(distiller.student, distiller.student)
    whole, parts = (
        distiller.evaluate(batch, batch_size=size, verbose=0) for size in (_BATCH, 3)
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)


def test_a_student_whose_logits_are_in_half_precision_learns():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        student = _tiny_network(1)
    finally:
        keras.config.set_dtype_policy("float32")
    halves, full = (_compiled(s, _tiny_network(2)) for s in (student, _tiny_network(1)))
    batch = _batch(student, student)
    before = _values(student)
    found, expected = (each.train_step(batch) for each in (halves, full))
    assert _moved(before, student)
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=0.02)
