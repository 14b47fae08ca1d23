"""A model on a server: which one is meant, what it offers, and what went wrong.

The two protocols of TF Serving are in `serving_grpc.py` and `serving_rest.py`.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

# What the server answers if the same request may succeed a moment later. A predicted
# batch changes nothing on the server, so asking again does no harm.
RETRIED = "UNAVAILABLE"
# Begins the names of signatures that TensorFlow keeps for itself.
INTERNAL = "__"
# Seconds before the first retry; each further one waits twice as long.
BACKOFF_S = 0.2

_CAUSES = {
    "UNAVAILABLE": ConnectionError,
    "DEADLINE_EXCEEDED": TimeoutError,
    "NOT_FOUND": ValueError,
    "INVALID_ARGUMENT": ValueError,
    "FAILED_PRECONDITION": ValueError,
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """The model that is asked for, and how long one waits for it.

    Attributes:
        address: grpc://HOST:PORT, http://HOST:PORT or https://HOST:PORT.
        version: Number of the version. None takes the one with the label
            `label`, or the newest if there is no label.
        label: Of a version, such as "canary".
        timeout_s: Seconds until a request is given up, over gRPC with its retries.
        retries: How many more times a server that cannot be reached, or is overloaded,
            is asked.
    """

    address: str
    model: str
    version: int | None = None
    label: str | None = None
    timeout_s: float = 10.0
    retries: int = 4

    def __str__(self):
        text = f"model {self.model!r}"
        if self.version is not None:
            text = f"version {self.version} of {text}"
        elif self.label is not None:
            text = f"version labeled {self.label!r} of {text}"
        return f"{text} at {self.address}"


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a signature: TensorFlow's name of the type by name."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


class RefusedError(Exception):
    """An answer that is no result.

    Attributes:
        status: The name of the gRPC status code, over REST as well.
    """

    def __init__(self, status: str, said: str):
        super().__init__(f"{status}: {said}")
        self.status, self.said = status, said


class ServedModel(abc.ABC):
    """A model on a server. `predict` may be called by several threads at a time.

    Raises:
        ValueError: If the server has no such model, version, label or signature, or
            refuses what was sent.
        ConnectionError, TimeoutError: If it cannot be reached, or does not answer.
        OSError: If the server itself fails.
    """

    def __init__(self, asked: Asked):
        self.asked = asked
        try:
            self.signatures = self._read_signatures()
        except RefusedError as refused:
            raise self._explained(refused) from refused

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Sends arrays, batch first (strings as objects), and returns some outputs."""
        known = self.signatures.get(signature)
        if known is None:
            raise ValueError(
                f"There is no signature {signature!r} in {self.asked}; there are "
                f"{sorted(self.signatures)}."
            )
        if missing := sorted(set(outputs) - set(known.outputs)):
            raise ValueError(
                f"The signature {signature!r} of {self.asked} has the outputs "
                f"{sorted(known.outputs)}, but not {missing}."
            )
        try:
            return self._predict(signature, inputs, outputs)
        except RefusedError as refused:
            raise self._explained(refused) from refused

    @abc.abstractmethod
    def _read_signatures(self) -> dict[str, Signature]: ...

    @abc.abstractmethod
    def _read_versions(self) -> list[int]:
        """The versions of the model that the server has loaded."""

    @abc.abstractmethod
    def _predict(self, signature, inputs, outputs) -> dict[str, np.ndarray]: ...

    def _explained(self, refused):
        """The error that says what the user can do about it."""
        asked, cause = self.asked, _CAUSES.get(refused.status, OSError)
        is_label = refused.status == "INVALID_ARGUMENT" and "label" in refused.said
        if refused.status == "UNAVAILABLE":
            text = (
                f"{asked.address} cannot be reached, or is overloaded, with --retries="
                f"{asked.retries}: is the server up, and is this the port of that "
                "protocol (8500 for gRPC, 8501 for REST)?"
            )
        elif refused.status == "DEADLINE_EXCEEDED":
            text = f"{asked} gave no answer within --timeout_s={asked.timeout_s:g}."
        elif refused.status == "NOT_FOUND" or (asked.label is not None and is_label):
            text = f"There is no {asked}{self._versions()}."
        else:
            text = f"{asked} refuses the request."
        return cause(f"{text} It says: {refused}")

    def _versions(self):
        try:
            versions = self._read_versions()
        except RefusedError:
            return ""
        return f"; the model has the versions {versions}" if versions else ""
