"""Asks a model of TF Serving over gRPC."""

import json

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.served_model import (
    BACKOFF_S,
    INTERNAL,
    RETRIED,
    Asked,
    RefusedError,
    ServedModel,
    Signature,
)

# gRPC takes no more tries than five for one call.
MAX_RETRIES = 4

_SERVICES = ("PredictionService", "ModelService")
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class GrpcModel(ServedModel):
    """A `ServedModel` at grpc://HOST:PORT."""

    def __init__(self, asked: Asked):
        target = asked.address.removeprefix("grpc://").rstrip("/")
        channel = grpc.insecure_channel(target, _options(asked.retries))
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(channel)
        super().__init__(asked)

    def _read_signatures(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._model_spec(), metadata_field=["signature_def"]
        )
        response = self._call(self._prediction.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            name: Signature(_types(signature.inputs), _types(signature.outputs))
            for name, signature in signatures.signature_def.items()
            if not name.startswith(INTERNAL)
        }

    def _read_versions(self):
        request = get_model_status_pb2.GetModelStatusRequest(
            model_spec=model_pb2.ModelSpec(name=self.asked.model)
        )
        states = self._call(self._model.GetModelStatus, request).model_version_status
        return sorted(item.version for item in states if item.state == _AVAILABLE)

    def _predict(self, signature, inputs, outputs):
        request = predict_pb2.PredictRequest(
            model_spec=self._model_spec(signature), output_filter=outputs
        )
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        response = self._call(self._prediction.Predict, request)
        return {name: tf.make_ndarray(response.outputs[name]) for name in outputs}

    def _model_spec(self, signature=""):
        asked = self.asked
        spec = model_pb2.ModelSpec(name=asked.model, signature_name=signature)
        if asked.version is not None:
            spec.version.value = asked.version
        elif asked.label is not None:
            spec.version_label = asked.label
        return spec

    def _call(self, method, request):
        try:
            return method(request, timeout=self.asked.timeout_s)
        except grpc.RpcError as error:
            raise RefusedError(error.code().name, error.details()) from error


def _options(retries):
    """Any size of messages, and retries by gRPC itself."""
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
    ]
    if not retries:
        return [*options, ("grpc.enable_retries", 0)]
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": f"{BACKOFF_S}s",
        "maxBackoff": f"{BACKOFF_S * 2**MAX_RETRIES}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": [RETRIED],
    }
    services = [{"service": f"tensorflow.serving.{name}"} for name in _SERVICES]
    config = {"methodConfig": [{"name": services, "retryPolicy": policy}]}
    return [
        *options,
        ("grpc.service_config", json.dumps(config)),
        # A request is only sent again if all of it is still there.
        ("grpc.per_rpc_retry_buffer_size", 2**30),
        # A server that comes back is found in time for a retry.
        ("grpc.initial_reconnect_backoff_ms", round(1000 * BACKOFF_S)),
    ]


def _types(tensors):
    return {name: tf.as_dtype(info.dtype).name for name, info in tensors.items()}
