"""A server of TF Serving's two protocols on this machine, for tests of what calls one.

python -m tests.model_server --models=FOLDER prints its two addresses and serves every
<name>/<version>/ in the folder until its standard input ends.

What it lacks of the real one: it polls for no new versions, batches no requests, has no
metrics, and its JSON parser is Python's.
"""

import argparse
import contextlib
import pathlib
import subprocess
import sys
import threading
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests import model_server_rest
from tests.session_models import RefusalError, SessionModels, signature_map

_ANY_SIZE = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
_THREADS = 8
_ROOT = pathlib.Path(__file__).resolve().parent.parent


class ModelServer:
    """Serves models over gRPC and REST while its context is entered.

    Attributes:
        models: The `SessionModels`.
        grpc_address, rest_address: As clients take them.
    """

    def __init__(self, models: SessionModels):
        self.models = models
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(_THREADS), options=_ANY_SIZE
        )
        servicer = _Servicer(models)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            servicer, self._grpc
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, self._grpc)
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        self.grpc_address = f"grpc://127.0.0.1:{port}"
        self._rest = model_server_rest.server_of(models)
        self.rest_address = f"http://127.0.0.1:{self._rest.server_address[1]}"

    def __enter__(self):
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._grpc.stop(grace=None).wait()
        self._rest.shutdown()
        self._rest.server_close()


@contextlib.contextmanager
def started(models):
    """Context manager: yields (process, addresses) of a server of its own process.

    Args:
        models: Folder of models, as the command takes it.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.model_server", f"--models={models}"],
        cwd=_ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        addresses = process.stdout.readline().split()
        assert len(addresses) == 2, "The server did not start."
        yield process, addresses
    finally:
        process.stdin.close()
        process.wait(timeout=60)


class _Servicer(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    def __init__(self, models):
        self._models = models

    def Predict(self, request, context):
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        with _refusals(context):
            spec = request.model_spec
            name = spec.signature_name or "serving_default"
            inputs = {key: _array(key, t) for key, t in request.inputs.items()}
            found = self._models.predict(
                _chosen(spec), name, inputs, request.output_filter
            )
            for key, value in found.items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(self, request, context):
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with _refusals(context):
            signatures = self._models.signatures(_chosen(request.model_spec))
            response.metadata["signature_def"].Pack(signature_map(signatures))
        return response

    def GetModelStatus(self, request, context):
        response = get_model_status_pb2.GetModelStatusResponse()
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        with _refusals(context):
            for version in self._models.versions(request.model_spec.name):
                response.model_version_status.add(version=version, state=available)
        return response


def _chosen(spec):
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _array(name, tensor):
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError, KeyError) as error:
        said = f"tensor parsing error: {name}"
        raise RefusalError("INVALID_ARGUMENT", said) from error


@contextlib.contextmanager
def _refusals(context):
    try:
        yield
    except RefusalError as refusal:
        context.abort(grpc.StatusCode[refusal.status], refusal.said)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    folders = {path.name: path for path in parser.parse_args().models.iterdir()}
    with ModelServer(SessionModels(folders)) as server:
        print(server.grpc_address, server.rest_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
