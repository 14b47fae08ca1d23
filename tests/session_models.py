"""Models in Sessions that answer and refuse in the words of TF Serving 2.17."""

import threading
import time

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

_STATUSES = {status.value[0]: status.name for status in grpc.StatusCode}


class RefusalError(Exception):
    """What is answered instead of a result; `status` is a name of gRPC's."""

    def __init__(self, status, said):
        super().__init__(said)
        self.status, self.said = status, said


class SessionModels:
    """Loads every version of some models.

    Args:
        models: Folder with versions in it, by the name of the model.
        labels: Version by label.
    Attributes:
        fails_next: Statuses of the next calls that would predict.
        delay_s: Before every prediction.
        calls: How many calls would predict, refused ones included.
    """

    def __init__(self, models, labels=None):
        self._models = {
            name: {int(path.name): _Version(path) for path in folder.iterdir()}
            for name, folder in models.items()
        }
        self._labels = labels or {}
        self.fails_next, self.delay_s, self.calls = [], 0.0, 0
        self._lock = threading.Lock()

    def predict(self, chosen, signature_name, inputs, wanted=()):
        """Returns arrays by the names of outputs; `chosen` as in `signatures`."""
        with self._lock:
            self.calls += 1
            status = self.fails_next.pop(0) if self.fails_next else None
        time.sleep(self.delay_s)
        if status is not None:
            raise RefusalError(status, "The batch scheduling queue is full")
        return self._version(*chosen).predict(signature_name, inputs, wanted)

    def signatures(self, chosen):
        """`SignatureDef` by name, of (model, number or None, label or None)."""
        return self._version(*chosen).signatures

    def versions(self, name):
        if name not in self._models:
            raise RefusalError(
                "NOT_FOUND", f"Could not find any versions of model {name}"
            )
        return sorted(self._models[name])

    def _version(self, name, number, label):
        if label is not None:
            if label not in self._labels:
                raise RefusalError(
                    "INVALID_ARGUMENT", f"Unrecognized servable version label: {label}"
                )
            number = self._labels[label]
        versions = self._models.get(name, {})
        chosen = max(versions, default=None) if number is None else number
        if chosen not in versions:
            kind = (
                f"Latest({name})" if number is None else f"Specific({name}, {number})"
            )
            raise RefusalError("NOT_FOUND", f"Servable not found for request: {kind}")
        return versions[chosen]


class _Version:
    def __init__(self, folder):
        with tf.Graph().as_default():
            self._session = tf.compat.v1.Session()
            loaded = tf.compat.v1.saved_model.loader.load(
                self._session, ["serve"], str(folder)
            )
        self.signatures = dict(loaded.signature_def)

    def predict(self, signature_name, inputs, wanted):
        if signature_name not in self.signatures:
            raise RefusalError(
                "FAILED_PRECONDITION",
                f'Serving signature key "{signature_name}" not found.',
            )
        signature = self.signatures[signature_name]
        _require_inputs(signature, inputs)
        for name in wanted:
            if name not in signature.outputs:
                raise RefusalError(
                    "INVALID_ARGUMENT",
                    f"output tensor alias not found in signature: {name}",
                )
        fetches = {n: signature.outputs[n].name for n in wanted or signature.outputs}
        feeds = {signature.inputs[name].name: value for name, value in inputs.items()}
        try:
            return self._session.run(fetches, feeds)
        except tf.errors.OpError as error:
            raise RefusalError(_STATUSES[error.error_code], error.message) from error


def signature_map(signatures):
    """The message in which both protocols tell the signatures of a model."""
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        found.signature_def[name].CopyFrom(signature)
    return found


def _require_inputs(signature, inputs):
    given, known = set(inputs), set(signature.inputs)
    if given != known:
        raise RefusalError(
            "INVALID_ARGUMENT",
            "input size does not match signature. Sent extra: "
            f"{sorted(given - known)}. Missing but required: {sorted(known - given)}.",
        )
    for name, value in inputs.items():
        dtype = tf.as_dtype(signature.inputs[name].dtype)
        if value.dtype != dtype.as_numpy_dtype:
            raise RefusalError(
                "INVALID_ARGUMENT",
                f"Expects {name} to be {dtype.name} but {value.dtype} is provided",
            )
