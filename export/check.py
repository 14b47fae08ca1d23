"""Loads a SavedModel as TF Serving does and compares its outputs with expected ones.

    python -m export.check MODELS/name

checks a served model, by `check_command.py`. An export is checked by

    python check.py MODEL_DIRECTORY EXPECTED.npz

which is a program of its own, in which neither Keras nor this project can be imported:
what passes there needs TensorFlow alone. The file holds `classes`, `tolerance`, perhaps
`tolerance.SIGNATURE` for some, and any number of requests: `CASE.SIGNATURE.input.NAME`
and what is expected, a part of the outputs, `CASE.SIGNATURE.output.NAME`. If classes
are actions, `actions` holds the verb and the noun of each. Ends with status 0 if every
output agrees, else with 1 and a line on standard output that says what differs.
"""

import collections
import sys

if __name__ == "__main__" and __package__:
    # python -m export.check, which needs no such process, or starts one.
    from export import check_command

    check_command.start()

# None makes an import fail and TensorFlow, which would import Keras, go without.
sys.modules.update(dict.fromkeys(("keras", "tf_keras", "kd_keras")))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

_ANTICIPATION = {
    "probabilities": tf.float32,
    "top_k_indices": tf.int32,
    "top_k_probabilities": tf.float32,
    "top_k_classes": tf.string,
    "lead_time_s": tf.float32,
}
_ACTIONS = {
    "top_k_verbs": tf.string,
    "top_k_verb_probabilities": tf.float32,
    "top_k_nouns": tf.string,
    "top_k_noun_probabilities": tf.float32,
}
_FEATURES = {"feature_map": tf.float32, "pooled": tf.float32}
_DESCRIPTION = {"student_json": tf.string}
_STATE = {
    "state_frames": tf.uint8,
    "state_seen": tf.int32,
    "state_window": tf.int32,
}

# Below this a probability is as good as zero.
_FLOOR = 1e-30


def main(model_directory: str, expected_file: str) -> int:
    try:
        compare(model_directory, dict(np.load(expected_file)))
    except (ValueError, tf.errors.OpError, OSError) as error:
        print(error)
        return 1
    return 0


def compare(model_directory: str, expected: dict[str, np.ndarray]) -> None:
    """Raises a ValueError at the first output that is not as expected."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(
            session, ["serve"], model_directory
        )
        _require_no_compilation(loaded)
        for name, inputs, outputs in _requests(expected):
            shapes = {key: value.shape for key, value in inputs.items()}
            try:
                if name not in loaded.signature_def:
                    raise ValueError("There is no such signature.")
                signature = loaded.signature_def[name]
                _require_interface(signature, inputs, "actions" in expected)
                found = session.run(
                    {key: info.name for key, info in signature.outputs.items()},
                    {signature.inputs[key].name: inputs[key] for key in inputs},
                )
                tolerance = expected.get(f"tolerance.{name}", expected["tolerance"])
                _compare_answer(found, outputs, expected, float(tolerance))
            except ValueError as error:
                raise ValueError(f"{name}, for {shapes}: {error}") from error


def _requests(expected):
    """Yields the signature's name, the inputs and the outputs of each request."""
    requests = collections.defaultdict(lambda: ({}, {}))
    for key, value in expected.items():
        if key.count(".") == 3:
            case, signature, kind, name = key.split(".")
            requests[case, signature][kind == "output"][name] = value
    for (_, signature), (inputs, outputs) in requests.items():
        yield signature, inputs, outputs


def _require_no_compilation(loaded):
    compiled = [
        function.signature.name
        for function in loaded.graph_def.library.function
        if function.attr["_XlaMustCompile"].b
    ]
    if compiled:
        raise ValueError(f"TF Serving refuses functions compiled by XLA: {compiled}.")


def _require_interface(signature, inputs, are_actions):
    _require_types("inputs", signature.inputs, _types_of(inputs))
    anticipation = _ANTICIPATION | (_ACTIONS if are_actions else {})
    types = {}
    # Of each group a signature gives everything or nothing.
    for group in (anticipation, _FEATURES, _DESCRIPTION, _STATE):
        types |= group if set(group) & set(signature.outputs) else {}
    _require_types("outputs", signature.outputs, types)


def _types_of(arrays):
    return {
        name: tf.string if array.dtype.kind == "S" else tf.as_dtype(array.dtype)
        for name, array in arrays.items()
    }


def _require_types(kind, infos, types):
    found = {name: tf.as_dtype(info.dtype) for name, info in infos.items()}
    if found != types:
        raise ValueError(f"The {kind} must be {types}. Got {found}.")
    for name, info in infos.items():
        if info.tensor_shape.dim[0].size != -1:
            raise ValueError(f"Dimension 0 of {name} must be the batch, of any size.")


def _compare_answer(found, outputs, expected, tolerance):
    for name, value in outputs.items():
        if found[name].shape != value.shape:
            raise ValueError(
                f"{name} must have shape {value.shape}. Got {found[name].shape}."
            )
        if name == "lead_time_s" or name in _STATE:
            if not np.array_equal(found[name], value, equal_nan=True):
                raise ValueError(f"{name} must be {value}. Got {found[name]}.")
        elif name == "student_json":
            if not np.array_equal(found[name].astype(bytes), value):
                raise ValueError(f"{name} must be {value}. Got {found[name]}.")
        elif not np.all(np.isfinite(found[name])):
            raise ValueError(f"{name} is not finite.")
        elif name == "probabilities":
            _compare_probabilities(found[name], value, tolerance)
            _require_ranking(found, expected["classes"])
            if "actions" in expected:
                _require_sums(found, expected["actions"])
        else:
            _compare_features(name, found[name], value, tolerance)


def _compare_probabilities(actual, expected, tolerance):
    """Compares logarithms, which are logits up to a constant.

    Probabilities of a student that is not sure of anything are alike whatever the
    weights; their logarithms still show a wrong one.
    """
    actual, expected = (np.log(np.maximum(p, _FLOOR)) for p in (actual, expected))
    off = np.abs(actual - expected) / (1.0 + np.abs(expected))
    if not np.all(off <= tolerance):
        raise ValueError(
            "log-probabilities differ from the Keras model's by up to "
            f"{np.max(off):.2g} of their size; {tolerance:.2g} was allowed."
        )


def _compare_features(name, actual, expected, tolerance):
    largest = np.max(np.abs(expected))
    off = np.max(np.abs(actual - expected))
    if not off <= tolerance * largest:
        raise ValueError(
            f"{name} differs from the Keras model's by up to {off:.2g}; "
            f"{tolerance:.2g} of {largest:.2g} was allowed."
        )


def _require_ranking(outputs, classes):
    probabilities, indices = outputs["probabilities"], outputs["top_k_indices"]
    best = np.sort(probabilities, axis=1)[:, ::-1][:, : indices.shape[1]]
    ranked = np.take_along_axis(probabilities, indices.astype(np.int64), axis=1)
    if not (
        np.array_equal(outputs["top_k_probabilities"], best)
        and np.array_equal(ranked, best)
    ):
        raise ValueError("top_k_* are not the largest of probabilities in order.")
    names = np.char.decode(outputs["top_k_classes"].astype(bytes), "utf-8")
    if not np.array_equal(names, classes[indices]):
        raise ValueError("top_k_classes do not name top_k_indices.")


def _require_sums(outputs, actions):
    for place, kind in enumerate(("verb", "noun")):
        words, members = np.unique(actions[:, place], return_inverse=True)
        sums = np.zeros((len(outputs["probabilities"]), len(words)))
        for column, word in enumerate(members):
            sums[:, word] += outputs["probabilities"][:, column]
        shown = outputs[f"top_k_{kind}_probabilities"]
        names = np.char.decode(outputs[f"top_k_{kind}s"].astype(bytes), "utf-8")
        best = np.sort(sums, axis=1)[:, ::-1][:, : shown.shape[1]]
        named = np.take_along_axis(sums, np.searchsorted(words, names), axis=1)
        if not (np.allclose(shown, best) and np.allclose(shown, named)):
            raise ValueError(f"top_k_{kind}s are not the largest sums of actions.")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
