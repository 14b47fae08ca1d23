"""Asks a SavedModel through TensorFlow's C API, in a program that has no Python.

The program is compiled when it is needed, against the headers and libraries that the
package tensorflow brings along.
"""

import os
import pathlib
import shutil
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kd_keras import console

_SOURCE = pathlib.Path(__file__).with_name("ask_without_python.c")
_LIBRARIES = ("libtensorflow_cc", "libtensorflow_framework")
_COMPILERS = ("cc", "gcc", "clang")

# What is fed, by the name of the tensor, such as "serve:0"; and the names of what is
# fetched.
Request = tuple[Mapping[str, np.ndarray], Sequence[str]]


def missing() -> str | None:
    """What the program cannot be compiled for lack of, if anything."""
    if _compiler() is None:
        return f"there is no C compiler ({', '.join(_COMPILERS)})"
    for name in _LIBRARIES:
        if not _library_files(name):
            return f"the package tensorflow has no {name}"
    return None


def compile_program(folder: str | os.PathLike) -> pathlib.Path:
    """Compiles the program into a folder.

    Raises:
        OSError: If it does not compile.
    """
    program = pathlib.Path(folder, "ask_without_python")
    libraries = tf.sysconfig.get_lib()
    command = [_compiler(), "-std=c11", "-O1", str(_SOURCE), "-o", str(program)]
    command += [f"-I{tf.sysconfig.get_include()}", f"-Wl,-rpath,{libraries}"]
    command += [str(_library_files(name)[0]) for name in _LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{_SOURCE.name} does not compile: {done.stderr[-2000:]}")
    return program


def ask(
    program: pathlib.Path,
    model_directory: str | os.PathLike,
    requests: Iterable[Request],
) -> list[list[np.ndarray]]:
    """Loads the model once; returns the values that each request fetches.

    Raises:
        OSError: If the program fails, with what TensorFlow says.
    """
    asked, answers = program.with_name("requests"), program.with_name("answers")
    counts = []
    with open(asked, "wb") as file:
        for feeds, fetches in requests:
            for name, value in feeds.items():
                file.write(b"I" + _place(name) + _tensor(np.asarray(value)))
            for name in fetches:
                file.write(b"O" + _place(name) + struct.pack("=IIQ", 0, 0, 0))
            file.write(b"R")
            counts.append(len(fetches))
    done = subprocess.run(
        [program, os.fspath(model_directory), asked, answers],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = console.quieted(done.stderr).strip()[-2000:]
        raise OSError(f"Without Python: {said}")
    with open(answers, "rb") as file:
        return [[_read_tensor(file) for _ in range(count)] for count in counts]


def _compiler():
    candidates = (os.environ.get("CC"), *_COMPILERS)
    return next(filter(None, map(shutil.which, filter(None, candidates))), None)


def _library_files(name):
    return sorted(pathlib.Path(tf.sysconfig.get_lib()).glob(f"{name}.*"))


def _place(name):
    operation, _, index = name.partition(":")
    encoded = operation.encode()
    return struct.pack("=I", len(encoded)) + encoded + struct.pack("=I", int(index))


def _tensor(value):
    dtype = tf.string if value.dtype.kind in "SO" else tf.as_dtype(value.dtype)
    content = value.tobytes()
    if dtype == tf.string:
        texts = [bytes(text) for text in value.ravel()]
        content = b"".join(struct.pack("=Q", len(text)) + text for text in texts)
    header = struct.pack("=II", dtype.as_datatype_enum, value.ndim)
    dims = struct.pack(f"={value.ndim}q", *value.shape)
    return header + dims + struct.pack("=Q", len(content)) + content


def _read_tensor(file):
    kind, ndim = struct.unpack("=II", file.read(8))
    shape = struct.unpack(f"={ndim}q", file.read(8 * ndim))
    (size,) = struct.unpack("=Q", file.read(8))
    content, dtype = file.read(size), tf.as_dtype(kind)
    if dtype != tf.string:
        return np.frombuffer(content, dtype.as_numpy_dtype).reshape(shape)
    texts, place = np.empty(int(np.prod(shape)), dtype=object), 0
    for i in range(len(texts)):
        (length,) = struct.unpack_from("=Q", content, place)
        texts[i] = content[place + 8 : place + 8 + length]
        place += 8 + length
    return texts.reshape(shape)
