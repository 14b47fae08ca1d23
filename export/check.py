"""Loads a SavedModel as TF Serving does and compares its outputs with expected ones.

    python check.py MODEL_DIRECTORY EXPECTED.npz

A program of its own, in which neither Keras nor this project can be imported: what
passes here needs TensorFlow alone. The file holds `classes`, `tolerance` and, for
every case i, `frames_i` and `probabilities_i`. Ends with status 0 if every output
agrees, else with 1 and a line on standard output that says what differs.
"""

import sys

# None makes an import fail and TensorFlow, which would import Keras, go without.
sys.modules.update(dict.fromkeys(("keras", "tf_keras", "kd_keras")))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

OUTPUTS = {
    "probabilities": tf.float32,
    "top_k_indices": tf.int32,
    "top_k_probabilities": tf.float32,
    "top_k_classes": tf.string,
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
        signature = loaded.signature_def["serving_default"]
        _require_interface(signature)
        fetches = {name: signature.outputs[name].name for name in OUTPUTS}
        for case in range(sum(name.startswith("frames_") for name in expected)):
            frames = expected[f"frames_{case}"]
            outputs = session.run(fetches, {signature.inputs["frames"].name: frames})
            try:
                _compare_probabilities(
                    outputs["probabilities"],
                    expected[f"probabilities_{case}"],
                    float(expected["tolerance"]),
                )
                _require_ranking(outputs, expected["classes"])
            except ValueError as error:
                raise ValueError(f"For frames of {frames.shape}: {error}") from error


def _require_no_compilation(loaded):
    compiled = [
        function.signature.name
        for function in loaded.graph_def.library.function
        if function.attr["_XlaMustCompile"].b
    ]
    if compiled:
        raise ValueError(f"TF Serving refuses functions compiled by XLA: {compiled}.")


def _require_interface(signature):
    inputs = {name: info.dtype for name, info in signature.inputs.items()}
    outputs = {name: info.dtype for name, info in signature.outputs.items()}
    if inputs != {"frames": tf.uint8.as_datatype_enum}:
        raise ValueError(f"The only input must be frames, uint8. Got {inputs}.")
    if outputs != {name: dtype.as_datatype_enum for name, dtype in OUTPUTS.items()}:
        raise ValueError(f"The outputs must be {OUTPUTS}. Got {outputs}.")
    for name, info in (*signature.inputs.items(), *signature.outputs.items()):
        if info.tensor_shape.dim[0].size != -1:
            raise ValueError(f"Dimension 0 of {name} must be the batch, of any size.")


def _compare_probabilities(actual, expected, tolerance):
    """Compares logarithms, which are logits up to a constant.

    Probabilities of a student that is not sure of anything are alike whatever the
    weights; their logarithms still show a wrong one.
    """
    if actual.shape != expected.shape:
        raise ValueError(
            f"probabilities must have shape {expected.shape}. Got {actual.shape}."
        )
    if not np.all(np.isfinite(actual)):
        raise ValueError("probabilities are not finite.")
    actual, expected = (np.log(np.maximum(p, _FLOOR)) for p in (actual, expected))
    off = np.abs(actual - expected) / (1.0 + np.abs(expected))
    if not np.all(off <= tolerance):
        raise ValueError(
            "log-probabilities differ from the Keras model's by up to "
            f"{np.max(off):.2g} of their size; {tolerance:.2g} was allowed."
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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
