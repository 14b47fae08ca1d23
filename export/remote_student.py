"""Predicts with a student that TF Serving serves; clips are sent as JPEGs."""

import numpy as np
import simplejpeg

from export import student_file
from export.served_model import Asked, ServedModel

# Takes the JPEGs of clips, (batch, time).
ENCODED_FRAMES = "encoded_frames"
# Gives what `assets.extra/student.json` holds, for a client that has no such file.
DESCRIBE = "describe"

_PROTOCOLS = ("grpc://", "http://", "https://")


class RemoteStudent:
    """A student on a server, called as an `ExportedStudent` is.

    Attributes:
        spec: Its `ExportSpec`, which the server was asked for.
    Raises:
        ValueError, OSError: As `ServedModel`; or the model is no student of
            `export.main`, or takes what JPEG cannot hold.
    """

    def __init__(self, model: ServedModel, jpeg_quality: int = 95):
        self._model, self._quality = model, jpeg_quality
        one = {"clips": np.zeros(1, np.int32)}
        (text,) = model.predict(DESCRIBE, one, ("student_json",))["student_json"]
        self.spec = student_file.from_json(text.decode("utf-8"))
        modality = self.spec.clip_format.modality
        if modality != "rgb":
            fix = {
                "flow": "use export.predict, or send uint8 levels to the signature "
                "serving_default",
                "features": "send float32 features to the signature serving_default",
            }[modality]
            raise ValueError(
                f"{model.asked} takes {modality}, which is not sent as JPEG: {fix}."
            )

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Probabilities (batch, classes) of uint8 RGB frames, as `ExportedStudent`."""
        encoded = np.empty(frames.shape[:2], dtype=object)
        for place in np.ndindex(encoded.shape):
            encoded[place] = simplejpeg.encode_jpeg(
                np.ascontiguousarray(frames[place]), self._quality, "RGB", "444"
            )
        answer = self._model.predict(
            ENCODED_FRAMES, {ENCODED_FRAMES: encoded}, ("probabilities",)
        )
        return answer["probabilities"]


def connect(asked: Asked) -> ServedModel:
    """Reads what a served model offers, over the protocol of its address.

    Raises:
        ValueError, OSError: As `ServedModel`; or the address is none.
    """
    if not asked.address.startswith(_PROTOCOLS):
        raise ValueError(
            f"--address must be grpc://HOST:8500 or http://HOST:8501. Got "
            f"{asked.address!r}."
        )
    if asked.version is not None and asked.label is not None:
        raise ValueError("--version and --label name one version each: give one.")
    # Each imports its protocol's libraries, and gRPC's messages all of TensorFlow.
    if asked.address.startswith("grpc://"):
        from export.serving_grpc import GrpcModel

        return GrpcModel(asked)
    from export.serving_rest import RestModel

    return RestModel(asked)
