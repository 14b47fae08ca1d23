"""Asks a model of TF Serving over REST."""

import base64
import urllib.parse

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from export.served_model import (
    BACKOFF_S,
    INTERNAL,
    Asked,
    RefusedError,
    ServedModel,
    Signature,
)

# The statuses that TF Serving gives for gRPC's, by their numbers.
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_UNAVAILABLE = 503


class RestModel(ServedModel):
    """A `ServedModel` at http://HOST:PORT or https://HOST:PORT."""

    def __init__(self, asked: Asked):
        self._session = requests.Session()
        retry = Retry(
            total=asked.retries,
            # A server that was asked and is late is not asked again.
            read=False,
            backoff_factor=BACKOFF_S,
            status_forcelist=(_UNAVAILABLE,),
            allowed_methods=None,
            # A server that names a time would be waited for, whatever its status.
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        super().__init__(asked)

    def _read_signatures(self):
        metadata = self._call("GET", f"{self._version_path()}/metadata", "metadata")
        signatures = metadata["signature_def"]["signature_def"]
        return {
            name: Signature(
                *(_types(signature.get(side, {})) for side in ("inputs", "outputs"))
            )
            for name, signature in signatures.items()
            if not name.startswith(INTERNAL)
        }

    def _read_versions(self):
        states = self._call("GET", self._model_path(), "model_version_status")
        loaded = (item for item in states if item["state"] == "AVAILABLE")
        return sorted(int(item["version"]) for item in loaded)

    def _predict(self, signature, inputs, outputs):
        body = {
            "signature_name": signature,
            "inputs": {name: _as_json(values) for name, values in inputs.items()},
        }
        path = f"{self._version_path()}:predict"
        found = self._call("POST", path, "outputs", body)
        types = self.signatures[signature].outputs
        if len(types) == 1:
            # The name of the only output is left out.
            found = {next(iter(types)): found}
        return {name: _as_array(found[name], types[name]) for name in outputs}

    def _model_path(self):
        return f"/v1/models/{urllib.parse.quote(self.asked.model, safe='')}"

    def _version_path(self):
        asked = self.asked
        if asked.version is not None:
            return f"{self._model_path()}/versions/{asked.version}"
        if asked.label is not None:
            label = urllib.parse.quote(asked.label, safe="")
            return f"{self._model_path()}/labels/{label}"
        return self._model_path()

    def _call(self, method, path, wanted, body=None):
        """What an answer holds under the key `wanted`."""
        url = self.asked.address.rstrip("/") + path
        try:
            response = self._session.request(
                method, url, json=body, timeout=self.asked.timeout_s
            )
            answer = response.json()
        except requests.JSONDecodeError as error:
            said = f"{url} gives no JSON (HTTP {response.status_code})"
            status = _STATUSES.get(response.status_code, "UNKNOWN")
            raise RefusedError(status, said) from error
        except requests.RequestException as error:
            status = "DEADLINE_EXCEEDED" if _is_late(error) else "UNAVAILABLE"
            raise RefusedError(status, str(error)) from error
        is_object = isinstance(answer, dict)
        if not response.ok:
            said = answer.get("error") if is_object else None
            said = response.text if said is None else said
            raise RefusedError(_STATUSES.get(response.status_code, "INTERNAL"), said)
        if not is_object or wanted not in answer:
            said = f"{url} gives JSON without {wanted!r}, so it is no TF Serving"
            raise RefusedError("UNKNOWN", said)
        return answer[wanted]


def _is_late(error):
    # An answer that begins and does not end is no Timeout to requests.
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError)


def _types(tensors):
    """TensorFlow's names of types; `DT_FLOAT` is float32."""
    names = {"float": "float32", "double": "float64"}
    types = {
        name: info["dtype"].removeprefix("DT_").lower()
        for name, info in tensors.items()
    }
    return {name: names.get(dtype, dtype) for name, dtype in types.items()}


def _as_json(values):
    """What JSON has for an array: bytes as TF Serving expects them."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [_as_json(value) for value in values]
    if isinstance(values, bytes):
        return {"b64": base64.b64encode(values).decode("ascii")}
    return values


def _as_array(values, dtype):
    if dtype != "string":
        return np.array(values, dtype)
    return np.char.encode(np.array(values, np.str_), "utf-8").astype(object)
