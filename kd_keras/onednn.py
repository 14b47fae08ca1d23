"""Has TensorFlow compute with oneDNN on every x86 processor.

Left to itself, TensorFlow does so only on processors with instructions for neural
networks, such as AVX512-VNNI. On all others the gradients of 3D convolutions take a
hundred times as long (`benchmarks/small_step.py`).
"""

import os
import platform
import sys
import warnings

_CHOICE = "TF_ENABLE_ONEDNN_OPTS"
# Instructions with which TensorFlow chooses oneDNN by itself, as Linux names them.
_CHOSEN_WITH = {
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16"),
}


def choose():
    """Chooses oneDNN, unless the environment says otherwise.

    TensorFlow reads the choice when it is imported.
    """
    if _is_x86() and "tensorflow" not in sys.modules:
        os.environ.setdefault(_CHOICE, "1")


def warn_if_too_late():
    """Warns if TensorFlow was imported first and left oneDNN off."""
    if not _is_x86() or _CHOICE in os.environ or _instructions() & _CHOSEN_WITH:
        return
    warnings.warn(
        "TensorFlow was imported before kd_keras and does not use oneDNN on this "
        "processor: training 3D convolutions on it can take a hundred times as long. "
        f"Import kd_keras first, or set {_CHOICE}=1 in the environment.",
        stacklevel=3,
    )


def _is_x86():
    return platform.machine().lower() in ("x86_64", "amd64")


def _instructions():
    """What the processor has; nothing is known outside of Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return _CHOSEN_WITH
    return set(flags.partition(":")[2].split())
