"""The REST half of `tests.model_server`: JSON as TF Serving documents it."""

import base64
import json
import re
import urllib.parse
from http import server as http_server

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from tests.session_models import RefusalError, signature_map

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<what>/metadata|:predict)?"
)
# Of gRPC's statuses; every other one is 500.
_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def server_of(models):
    """An HTTP server on a free port that answers for `SessionModels`."""
    handler = type("_HandlerOfModels", (_Handler,), {"models": models})
    return http_server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


class _Handler(http_server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: self._predict(body))

    def log_message(self, *_):
        pass

    def _get(self):
        chosen, what = self._asked()
        if what == "/metadata":
            found = json_format.MessageToDict(
                signature_map(self.models.signatures(chosen)),
                preserving_proto_field_name=True,
            )
            return {"metadata": {"signature_def": found}}
        states = [
            {"version": str(number), "state": "AVAILABLE"}
            for number in self.models.versions(chosen[0])
        ]
        return {"model_version_status": states}

    def _predict(self, body):
        chosen, _ = self._asked()
        try:
            request = json.loads(body)
            name = request.get("signature_name", "serving_default")
            inputs = self._inputs(request, chosen, name)
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            said = f"JSON Parse error: {error}"
            raise RefusalError("INVALID_ARGUMENT", said) from error
        found = self.models.predict(chosen, name, inputs)
        columns = {key: _as_json(key, value) for key, value in found.items()}
        if len(columns) == 1:
            # The name of the only output is left out.
            return {"outputs": next(iter(columns.values()))}
        return {"outputs": columns}

    def _inputs(self, request, chosen, name):
        signatures = self.models.signatures(chosen)
        if name not in signatures:
            raise RefusalError(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{name}" not found in signature def',
            )
        infos = signatures[name].inputs
        return {
            key: _as_array(value, tf.as_dtype(infos[key].dtype))
            for key, value in request["inputs"].items()
        }

    def _asked(self):
        match = _PATH.fullmatch(self.path)
        if not match:
            raise RefusalError("INVALID_ARGUMENT", f"Malformed request: {self.path}")
        name, version, label, what = match.groups()
        return (
            urllib.parse.unquote(name),
            version and int(version),
            label and urllib.parse.unquote(label),
        ), what

    def _answer(self, work):
        try:
            status, answer = 200, work()
        except RefusalError as refusal:
            status, answer = _HTTP.get(refusal.status, 500), {"error": refusal.said}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _as_array(values, dtype):
    if dtype != tf.string:
        return np.array(values, dtype.as_numpy_dtype)
    array = np.array(_decoded(values), dtype=object)
    if not all(isinstance(value, bytes) for value in array.ravel()):
        raise ValueError("Encountered list at unexpected size")
    return array


def _decoded(values):
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    if isinstance(values, dict):
        return base64.b64decode(values["b64"], validate=True)
    return values.encode()


def _as_json(name, value):
    if value.dtype.kind not in "OS":
        return value.tolist()
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(one).decode()} for one in value]
    return np.char.decode(value.astype(bytes), "utf-8").tolist()
