"""The check of an export finds each thing that can be wrong with it."""

import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

import export
from export import checking, saved_model
from export.signatures import ServedStudent
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from tests.tiny_exports import CLASSES, TINY_SPEC, damage_weights, tiny_student

ROOT = pathlib.Path(export.__file__).parents[1]


def changed(student, change):
    """A copy of the student whose classifier's weights were changed."""
    copy = keras.models.clone_model(student)
    copy.set_weights(student.get_weights())
    kernel, bias = copy.layers[-1].get_weights()
    copy.layers[-1].set_weights(change(kernel, bias))
    return copy


def compiled(student):
    """The same network with a last step that XLA compiles."""
    step = tf.function(lambda logits: logits + 0.0, jit_compile=True, autograph=False)
    last = keras.layers.Lambda(step, output_shape=student.output_shape[1:])
    return keras.Model(student.input, last(student.output))


# Run in a process of its own: whoever imports check.py can no longer import Keras.
CHECK_SEVERAL = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, sys.argv[1])
check = runpy.run_path(sys.argv[1] + "/export/check.py")
imported = {n.split(".")[0] for n, module in sys.modules.items() if module is not None}
assert "tensorflow" in imported
assert not {"keras", "tf_keras", "kd_keras", "export"} & imported
results = []
for model in sys.argv[3:]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        results.append((check["main"](model, sys.argv[2]), said.getvalue()))
print(json.dumps(results))
"""


def test_the_check_finds_what_is_wrong(tmp_path):
    # Some draws of weights are within the tolerance even in half precision. This one is
    # off by twelve times as much.
    keras.utils.set_random_seed(0)
    student = tiny_student()

    def exported(name, student=student, spec=TINY_SPEC, **arguments):
        return saved_model.export_student(student, tmp_path / name, spec, **arguments)

    def expected_of(student):
        return checking.expected_answers(ServedStudent(student, TINY_SPEC))

    half = tiny_student(dtype="mixed_bfloat16")
    half.set_weights(student.get_weights())
    reversed_names = ExportSpec(CLASSES[::-1], ClipFormat(8, 16))
    cases = {
        exported("good"): None,
        exported("two ranked", top_k=2): None,
        exported("damaged"): "Checksum does not match",
        exported("gone"): "",
        exported(
            "a little off", changed(student, lambda kernel, bias: (kernel * 1.01, bias))
        ): "log-probabilities differ",
        exported(
            "not a number",
            changed(student, lambda kernel, bias: (kernel * np.nan, bias)),
        ): "not finite",
        exported("half", half): "log-probabilities differ",
        exported("names", spec=reversed_names): "do not name",
        exported("compiled", compiled(student)): "compiled by XLA",
    }
    damage_weights(tmp_path / "damaged" / "1")
    shutil.rmtree(tmp_path / "gone" / "1")
    np.savez(tmp_path / "expected.npz", **expected_of(student))
    process = subprocess.run(
        [sys.executable, "-c", CHECK_SEVERAL, ROOT, tmp_path / "expected.npz", *cases],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout)
    for (path, message), (status, said) in zip(cases.items(), results, strict=True):
        assert status == (message is not None), (path, said)
        assert (message or "") in said, (path, said)
    # A student in half precision may differ by what rounding explains.
    ours, theirs = expected_of(half), expected_of(student)
    assert ours["tolerance"] > theirs["tolerance"]
