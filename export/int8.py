"""A network of OpenVINO in int8, by NNCF: post-training quantization.

Weights and maps are rounded to 8 bits; how far maps reach is read off training clips.
"""

import os
import pathlib
import tempfile
from collections.abc import Iterable

import numpy as np

PACKAGES = {"nncf": "nncf==3.4.0"}

# What NNCF looks at unless it is told otherwise.
CALIBRATION_CLIPS = 300


def quantize(file: str, clips: Iterable[np.ndarray]) -> None:
    """Replaces the network in a file of OpenVINO, and its weights beside it.

    Args:
        file: The .xml file.
        clips: Batches of clips as the network takes them.
    """
    import nncf
    import openvino

    network = openvino.Core().read_model(file)
    seen = [{"clip": batch} for batch in clips]
    quantized = nncf.quantize(network, nncf.Dataset(seen), subset_size=len(seen))
    path = pathlib.Path(file)
    # The weights are still read from the files that are replaced.
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        openvino.save_model(quantized, f"{scratch}/{path.name}", compress_to_fp16=False)
        for name in (path.with_suffix(".bin").name, path.name):
            os.replace(f"{scratch}/{name}", path.parent / name)
