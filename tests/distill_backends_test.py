"""The Distiller on whichever Keras backend runs, against ten steps in NumPy.

The loss is written again in NumPy, and its gradient is taken by differences. All
backends follow the same oracle, so they agree with one another.
"""

import keras
import numpy as np
import pytest
from keras import ops

import kd_keras

_CLASSES, _BATCH, _TOKENS, _CHANNELS, _STEPS = 3, 4, 8, 6, 10
_RATE, _TEMPERATURE = 0.5, 2.0
_TERMS = ("loss", "label_loss", "pseudo_label_loss", "feature_loss")


def _network(seed, channels=_CHANNELS):
    keras.utils.set_random_seed(seed)
    clips = keras.Input((2, 2, 2, 4))
    x = keras.layers.Dense(5, activation="tanh")(clips)
    x = keras.layers.Dense(channels, name="map")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model(clips, keras.layers.Dense(_CLASSES)(x))
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(scale=0.5, size=w.shape) for w in model.weights])
    return model


def _batch(seed=0):
    random = np.random.default_rng(seed)
    shape = (_BATCH, 2, 2, 2, 4)
    return {
        "observed": random.normal(size=shape).astype("float32"),
        "future": random.normal(size=shape).astype("float32"),
        "label": random.integers(0, _CLASSES, _BATCH).astype("int32"),
        "labeled": np.array([True, False, True, False]),
    }


def _feature_weight(step):
    return 0.3 / (1.0 + ops.cast(step, "float32"))


def _distiller(**arguments):
    arguments = {
        "feature_loss": kd_keras.AttentionalPoolingLoss(),
        "feature_weight": _feature_weight,
        "feature_layer": "map",
        "temperature": _TEMPERATURE,
        **arguments,
    }
    student, teacher = _network(1), arguments.pop("teacher", _network(2))
    distiller = kd_keras.Distiller(student, teacher, **arguments)
    distiller.compile(optimizer=keras.optimizers.SGD(_RATE))
    return distiller


class _Oracle:
    """The same training in NumPy: weights, and the terms at every step."""

    def __init__(self, student, teacher, batch):
        self.weights = [np.asarray(w, "float64") for w in student.get_weights()]
        self._batch = batch
        teacher_weights = [np.asarray(w, "float64") for w in teacher.get_weights()]
        logits, self._teacher_map = _forward(teacher_weights, batch["future"])
        self._answers = _softmax(logits)

    def terms(self, weights, weight, of_others=0.0, of_feature=0.0):
        """The loss and its terms, unweighted, as metrics show them.

        What is of the others or of the feature loss is added to the map that they see.
        """
        logits, maps = _forward(weights, self._batch["observed"], of_others, of_feature)
        labeled = self._batch["labeled"]
        softened = _softmax(np.log(self._answers) / _TEMPERATURE)
        log_predicted = np.log(_softmax(logits / _TEMPERATURE))
        pseudo = np.sum(softened * (np.log(softened) - log_predicted), -1)
        pseudo *= _TEMPERATURE**2
        right = np.log(_softmax(logits))[np.arange(_BATCH), self._batch["label"]]
        feature = np.mean(
            [_attention_loss(*m) for m in zip(self._teacher_map, maps, strict=True)]
        )
        divergence = np.where(labeled, -right, pseudo)
        loss = divergence.mean() + weight * feature
        return {
            "loss": loss,
            "label_loss": divergence[labeled].mean(),
            "pseudo_label_loss": divergence[~labeled].mean(),
            "feature_loss": feature,
        }

    def take_step(self, weight):
        """Goes down the gradient; returns the terms before."""
        found, slopes = self.terms(self.weights, weight), []
        for number, values in enumerate(self.weights):

            def loss_of(change, number=number):
                moved = [*self.weights]
                moved[number] = moved[number] + change
                return self.terms(moved, weight)["loss"]

            slopes.append(_slope(loss_of, values.shape))
        pairs = zip(self.weights, slopes, strict=True)
        self.weights = [values - _RATE * slope for values, slope in pairs]
        return found

    def norms_at_map(self):
        """The norms of gradients for the map: of the others, of the feature loss."""
        shape = self._teacher_map.shape
        others = _slope(lambda c: self.terms(self.weights, 0.0, c)["loss"], shape)
        feature = _slope(
            lambda c: self.terms(self.weights, 0.0, 0.0, c)["feature_loss"], shape
        )
        return np.linalg.norm(others), np.linalg.norm(feature)


def _slope(value_of, shape):
    """The gradient of a function of a change, by differences."""
    slope = np.zeros(shape)
    for place in np.ndindex(shape):
        change = np.zeros(shape)
        change[place] = 1e-5
        slope[place] = (value_of(change) - value_of(-change)) / 2e-5
    return slope


def _forward(weights, clips, of_others=0.0, of_feature=0.0):
    tokens = np.asarray(clips, "float64").reshape(_BATCH, _TOKENS, 4)
    w1, b1, w2, b2, w3, b3 = weights
    maps = np.tanh(tokens @ w1 + b1) @ w2 + b2
    return (maps + of_others).mean(1) @ w3 + b3, maps + of_feature


def _softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _attention_loss(teacher, student):
    def attended(queries, values):
        return _softmax(queries @ values.T / np.sqrt(_CHANNELS)) @ values

    return sum(
        np.mean(np.sum((attended(q, teacher) - attended(q, student)) ** 2, -1))
        for q in (student, teacher)
    )


def test_ten_steps_of_fit_follow_the_equations():
    batch, distiller = _batch(), _distiller()
    oracle = _Oracle(distiller.student, _network(2), batch)
    expected = [oracle.take_step(0.3 / (1 + step)) for step in range(_STEPS)]
    history = distiller.fit(
        batch, batch_size=_BATCH, epochs=_STEPS, shuffle=False, verbose=0
    ).history
    for name in _TERMS:
        values = [terms[name] for terms in expected]
        np.testing.assert_allclose(history[name], values, rtol=2e-3, err_msg=name)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    for found, wanted in zip(
        distiller.student.get_weights(), oracle.weights, strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=5e-3, atol=5e-3)


def test_metrics_and_evaluation_are_those_of_the_networks():
    batch, distiller = _batch(), _distiller()
    scores = distiller.evaluate(batch, batch_size=_BATCH, verbose=0, return_dict=True)
    expected = _Oracle(distiller.student, _network(2), batch)
    for name, value in expected.terms(expected.weights, 0.3).items():
        assert scores[name] == pytest.approx(value, rel=1e-4), name
    logits, _ = _forward(expected.weights, batch["observed"])
    teacher, _ = _forward(
        [np.asarray(w, "float64") for w in _network(2).get_weights()], batch["future"]
    )
    rows = batch["labeled"]
    right = (logits.argmax(-1) == batch["label"])[rows].mean()
    assert scores["top1"] == pytest.approx(right)
    assert scores["top5"] == 1
    agreement = np.mean(logits.argmax(-1) == teacher.argmax(-1))
    assert scores["agreement"] == pytest.approx(agreement)
    clips = batch["observed"]
    np.testing.assert_allclose(distiller.predict(clips, verbose=0), logits, rtol=1e-3)


@pytest.mark.parametrize("argument", ["feature_weight", "gradient_ratio"])
def test_schedules_count_steps_of_the_optimizer(argument):
    seen = []
    arguments = {argument: _feature_weight}
    distiller = _distiller(**{"feature_weight": "auto", **arguments})
    distiller.compile(keras.optimizers.SGD(0.0, gradient_accumulation_steps=2))
    for _ in range(5):
        distiller.fit(_batch(), batch_size=_BATCH, verbose=0)
        weight = distiller.current_feature_weight()
        seen.append(float(weight))
    if argument == "gradient_ratio":
        # The gradients stay, as the rate is 0.
        seen = [0.15 * weight / seen[1] for weight in seen]
    np.testing.assert_allclose(seen, [0.3, 0.15, 0.15, 0.1, 0.1], rtol=1e-4)


@pytest.mark.parametrize("weight", [1.0, "auto"])
@pytest.mark.parametrize(
    "beside", [("y",), ("y", "sample_weight"), ("sample_weight",), ("class_weight",)]
)
def test_what_would_not_be_used_is_refused(beside, weight):
    given = dict.fromkeys(beside, np.zeros(_BATCH))
    distiller = _distiller(feature_weight=weight)
    with pytest.raises(ValueError, match="A batch is one dict|would not use .*_weight"):
        distiller.fit(_batch(), batch_size=_BATCH, verbose=0, **given)
    with pytest.raises(ValueError, match="would not use sample_weight"):
        distiller.evaluate(_batch(), verbose=0, sample_weight=np.zeros(_BATCH))


@pytest.mark.parametrize("weight", [1.0, "auto"])
def test_labels_may_come_in_a_column(weight):
    batch = _batch()
    columns = {name: batch[name][:, None] for name in ("label", "labeled")}
    histories = []
    for data in (batch, {**batch, **columns}):
        distiller = _distiller(feature_weight=weight)
        fit = distiller.fit(data, batch_size=_BATCH, epochs=2, verbose=0)
        scores = distiller.evaluate(data, verbose=0, return_dict=True)
        histories.append({**fit.history, **scores})
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["label", "labeled"])
def test_several_labels_of_a_clip_are_refused(name):
    batch = {**_batch(), name: np.zeros((_BATCH, _CLASSES), "int32")}
    with pytest.raises(ValueError, match=f"'{name}' of a batch must have shape"):
        _distiller().fit(batch, batch_size=_BATCH, verbose=0)


@pytest.mark.parametrize("name", ["observed", "future", "label", "labeled"])
def test_a_field_that_is_missing_is_named(name):
    batch = _batch()
    del batch[name]
    with pytest.raises(ValueError, match=f"A batch must .*'{name}'.* Got .*"):
        _distiller().fit(batch, batch_size=_BATCH, verbose=0)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="masks are not seen")
def test_a_student_whose_map_has_a_mask_is_refused():
    clips = keras.Input((2, 4))
    x = keras.layers.Dense(_CHANNELS, name="map")(keras.layers.Masking()(clips))
    x = keras.layers.GlobalAveragePooling1D()(x)
    student = keras.Model(clips, keras.layers.Dense(_CLASSES)(x))
    loss = kd_keras.AttentionalPoolingLoss()
    distiller = kd_keras.Distiller(student, _network(2), loss, feature_layer="map")
    distiller.compile(optimizer="sgd")
    batch = {**_batch(), "observed": np.ones((_BATCH, 2, 4), "float32")}
    with pytest.raises(ValueError, match="Got a map with a Keras mask"):
        distiller.fit(batch, batch_size=_BATCH, verbose=0)


@pytest.mark.parametrize("label", [-1, 255])
def test_the_label_of_an_unlabeled_clip_may_be_any_value(label):
    batch = _batch()
    unknown = {**batch, "label": np.where(batch["labeled"], batch["label"], label)}
    histories = [
        _distiller().fit(data, batch_size=_BATCH, epochs=2, verbose=0).history
        for data in (batch, unknown)
    ]
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5, err_msg=name)


def test_stored_targets_give_what_the_teacher_gives():
    batch, teacher = _batch(), _network(2)
    reader = kd_keras.distill.FrozenTeacher(teacher, "map")
    probabilities, maps = map(ops.convert_to_numpy, reader(batch["future"]))
    stored = {name: value for name, value in batch.items() if name != "future"}
    stored |= {"teacher_probabilities": probabilities, "teacher_features": maps}
    histories = [
        distiller.fit(data, batch_size=_BATCH, epochs=3, verbose=0).history
        for distiller, data in (
            (_distiller(), batch),
            (_distiller(teacher=None), stored),
        )
    ]
    for name in _TERMS:
        np.testing.assert_allclose(*(h[name] for h in histories), rtol=1e-4)


def test_a_projection_learns_and_the_teacher_stays():
    batch, teacher = _batch(), _network(2, channels=7)
    distiller = _distiller(teacher=teacher, feature_loss=kd_keras.DirectLoss())
    (projection,) = distiller.projections
    first, frozen = projection.get_weights(), teacher.get_weights()
    distiller.fit(batch, batch_size=_BATCH, epochs=2, verbose=0)
    assert np.any(projection.get_weights()[0] != first[0])
    for before, after in zip(frozen, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def _regularized(seed, dense=0.0, norm=0.0, activity=0.0):
    """A student whose layers add losses: of a kernel, of BatchNorms, of a map."""
    keras.utils.set_random_seed(seed)
    regularizers, layers = keras.regularizers, keras.layers
    clips = keras.Input((2, 2, 2, 4))
    x = layers.Dense(_CHANNELS, kernel_regularizer=regularizers.L2(dense))(clips)
    x = layers.BatchNormalization(gamma_regularizer=regularizers.L2(norm))(x)
    x = layers.BatchNormalization(activity_regularizer=regularizers.L2(activity))(x)
    x = layers.Activation("linear", name="map")(x)
    x = layers.GlobalAveragePooling3D()(x)
    return keras.Model(clips, layers.Dense(_CLASSES)(x))


@pytest.mark.parametrize("weight", [1.0, "auto"])
def test_losses_of_the_students_own_layers_are_added(weight):
    batch = _batch()
    found = {}
    for dense, norm, activity in ((0, 0, 0), (0.3, 0.2, 0.1)):
        student = _regularized(1, dense, norm, activity)
        (kernel, _), (gamma, *_), *_ = (
            layer.get_weights() for layer in student.layers[1:]
        )
        by_hand = dense * np.sum(kernel**2) + norm * np.sum(gamma**2)
        if activity:
            normal = student.layers[3].output
            maps = keras.Model(student.input, normal)(batch["observed"], training=True)
            by_hand += activity * np.sum(ops.convert_to_numpy(maps) ** 2) / _BATCH
            student = _regularized(1, dense, norm, activity)
        distiller = kd_keras.Distiller(
            student,
            _network(2),
            kd_keras.AttentionalPoolingLoss(),
            feature_weight=weight,
            feature_layer="map",
        )
        distiller.compile(keras.optimizers.SGD(0.1))
        history = distiller.fit(batch, batch_size=_BATCH, epochs=2, verbose=0).history
        found[bool(dense)] = history["loss"], by_hand, student.get_weights()[0]
    (plain, _, free), (loss, by_hand, held) = found[False], found[True]
    assert loss[0] - plain[0] == pytest.approx(by_hand, rel=1e-4)
    assert np.sum(held**2) < 0.95 * np.sum(free**2)


def test_a_student_in_single_precision_sees_its_clips_unrounded():
    batch, distiller = _batch(), _distiller()
    expected = ops.convert_to_numpy(distiller.student(batch["observed"]))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        distiller = kd_keras.Distiller(distiller.student, None)
        found = ops.convert_to_numpy(distiller(batch["observed"]))
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(found, expected)


def test_a_student_with_batch_norm_and_dropout_trains():
    keras.utils.set_random_seed(0)
    clips = keras.Input((2, 2, 2, 4))
    x = keras.layers.Conv3D(_CHANNELS, 1)(clips)
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = keras.layers.ReLU(name="map")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling3D()(x))
    student = keras.Model(clips, keras.layers.Dense(_CLASSES)(x))
    loss = kd_keras.AttentionalPoolingLoss()
    distiller = kd_keras.Distiller(student, _network(2), loss, feature_layer="map")
    distiller.compile(optimizer=keras.optimizers.Adam(0.05))
    history = distiller.fit(_batch(), batch_size=_BATCH, epochs=20, verbose=0).history
    assert np.mean(history["loss"][-5:]) < 0.8 * np.mean(history["loss"][:2])
    mean = ops.convert_to_numpy(student.get_layer("norm").moving_mean)
    assert np.abs(mean).max() > 0.01


def test_auto_keeps_the_ratio_of_the_gradients_for_the_map():
    batch, ratio = _batch(), 0.5
    distiller = _distiller(feature_weight="auto", gradient_ratio=ratio)
    oracle = _Oracle(distiller.student, _network(2), batch)
    averages, expected = np.zeros(2), {"loss": [], "feature_weight": []}
    for step in range(_STEPS):
        weight = ratio * (averages[0] / averages[1] if step else 1e-3)
        averages += (np.array(oracle.norms_at_map()) - averages) / 50
        expected["feature_weight"].append(weight)
        expected["loss"].append(oracle.take_step(weight)["loss"])
    history = distiller.fit(
        batch, batch_size=_BATCH, epochs=_STEPS, shuffle=False, verbose=0
    ).history
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=5e-3, err_msg=name)
    ratios = history["feature_gradient_ratio"]
    assert ratios[1:] == pytest.approx([ratio] * (_STEPS - 1), rel=0.8)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow has it")
def test_what_needs_tensorflow_is_named():
    with pytest.raises(ValueError, match="rematerialize=True needs KERAS_BACKEND"):
        _distiller(rematerialize=True)
