"""I3D weights by their published names: TensorFlow checkpoints, TF-Hub, Keras files."""

import collections
import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np

from kd_keras.models.layer_groups import layer_groups
from kd_keras.models.plain_paths import plain_path

HEAD = "Logits/Conv3d_0c_1x1/conv_3d"

# Published names of a layer's variables in the order in which Keras keeps them, by the
# end of the layer's name.
_VARIABLES = {
    "conv_3d": ("w", "b"),
    "batch_norm": ("beta", "moving_mean", "moving_variance"),
}

_ACCEPTED = (
    "a TF-Hub handle (https://...), a folder of a TF-Hub module or of TensorFlow "
    "checkpoints, a checkpoint prefix (the path without .index), or a Keras .keras or "
    ".weights.h5 file"
)


def load_i3d_weights(
    model: keras.Model, source: str | os.PathLike, include_head: bool = True
) -> None:
    """Sets every variable of an I3D network, or nothing at all.

    Args:
        model: What `I3D` built, a tail included.
        source: A TF-Hub handle, the folder of a TF-Hub module or of TensorFlow
            checkpoints, a checkpoint prefix, or a Keras file. Checkpoints may put
            anything before the published names (`RGB/inception_i3d/`) and keep other
            variables beside them, such as an optimizer's.
        include_head: False leaves the classifier as it is, for another number of
            classes.
    Raises:
        ValueError: If there is no such source, or it lacks a variable of the model,
            or has another shape for it. The model is then unchanged.
    Examples:
        The last stages of the network, which are quick to build, for other classes.

        >>> import tempfile
        >>> import numpy as np
        >>> import kd_keras
        >>> trained = kd_keras.I3D(num_classes=5, width=0.05, start="Mixed_5b")
        >>> model = kd_keras.I3D(num_classes=3, width=0.05, start="Mixed_5b")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained.save_weights(f"{folder}/i3d.weights.h5")
        ...     kd_keras.load_i3d_weights(
        ...         model, f"{folder}/i3d.weights.h5", include_head=False
        ...     )
        >>> name = "Mixed_5c_Branch_0_Conv3d_0a_1x1_conv_3d"
        >>> first, other = (m.get_layer(name).get_weights() for m in (trained, model))
        >>> np.array_equal(first[0], other[0])
        True
    """
    variables = {
        name: variable
        for name, variable in _model_variables(model)
        if include_head or not name.startswith(HEAD)
    }
    stored = _open(os.fspath(source))
    prefix = _prefix(stored.shapes, {n: tuple(v.shape) for n, v in variables.items()})
    for name, variable in variables.items():
        _check_variable(prefix + name, tuple(variable.shape), stored.shapes, source)
    arrays = stored.read([prefix + name for name in variables])
    for variable, array in zip(variables.values(), arrays, strict=True):
        variable.assign(np.reshape(array, variable.shape))


def stored_shapes(source: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Shapes of all that `source` holds, by name with the prefix of the source."""
    return dict(_open(os.fspath(source)).shapes)


def _model_variables(model):
    for layer in model.layers:
        if not layer.weights:
            continue
        names = _published_names(layer.name)
        if names is None:
            raise ValueError(
                f"Layer {layer.name!r} of model {model.name!r} has weights but is none "
                "of I3D's. Load the weights into the I3D network before adding layers."
            )
        yield from zip(names, layer.weights, strict=False)  # Convs lack the bias.


def _published_names(layer_name: str) -> list[str] | None:
    """`Mixed_3b_Branch_0_Conv3d_0a_1x1_conv_3d` -> `Mixed_3b/Branch_0/...`."""
    path = re.sub(r"_(?=Branch_\d|Conv3d_|conv_3d$|batch_norm$)", "/", layer_name)
    _, _, kind = path.rpartition("/")
    if kind not in _VARIABLES:
        return None
    return [f"{path}/{variable}" for variable in _VARIABLES[kind]]


class _Stored(NamedTuple):
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[Iterable[str]], list[np.ndarray]]


def _open(source: str) -> _Stored:
    if source.endswith((".keras", ".weights.h5")):
        return _open_keras_file(source)
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ValueError(
            f"Reading {source!r} needs TensorFlow. Convert it once where TensorFlow "
            "is installed (python -m kd_keras.models.convert) and load the .weights.h5 "
            "file."
        ) from error
    if source.startswith(("https://", "http://")):
        import tensorflow_hub as hub

        source = hub.resolve(source)

    def read(names):
        with _checkpoint(source) as prefix:
            reader = tf.train.load_checkpoint(prefix)
            return [reader.get_tensor(name) for name in names]

    with _checkpoint(source) as prefix:
        shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    return _Stored({name: tuple(shape) for name, shape in shapes.items()}, read)


@contextlib.contextmanager
def _checkpoint(source: str) -> Iterator[str]:
    """The prefix of a source's checkpoint, as TensorFlow can read it."""
    import tensorflow as tf

    is_prefix = tf.io.gfile.exists(f"{source}.index")
    if not is_prefix and not tf.io.gfile.isdir(source):
        raise ValueError(f"No I3D weights at {source!r}. Expected {_ACCEPTED}.")
    with plain_path(source) as plain:
        prefix = plain if is_prefix else _newest_checkpoint(plain)
        if prefix is None:
            raise ValueError(
                f"{source!r} holds neither variables/variables.index nor a checkpoint. "
                f"Expected {_ACCEPTED}."
            )
        try:
            yield prefix
        # TensorFlow finds values that are cut off to be an index too high.
        except (tf.errors.OpError, IndexError) as error:
            raise ValueError(
                f"Cannot read {source!r} as a TensorFlow checkpoint: {error}. Is it "
                "whole? Copy or download it again."
            ) from error


def _newest_checkpoint(folder: str) -> str | None:
    """The prefix in a TF-Hub module or in a folder of checkpoints."""
    import tensorflow as tf

    prefix = os.path.join(folder, "variables", "variables")
    if tf.io.gfile.exists(f"{prefix}.index"):
        return prefix
    return tf.train.latest_checkpoint(folder)


def _open_keras_file(path: str) -> _Stored:
    """Reads layers by name, so that a tail can be filled from a whole network."""
    arrays = {}
    with layer_groups(path, _ACCEPTED) as groups:
        for group in groups:
            names = _published_names(group.attrs.get("name", "")) or ()
            arrays |= {
                name: np.asarray(group[str(i)], "float32")
                for i, name in enumerate(names)
                if str(i) in group
            }
    if not arrays:
        raise ValueError(
            f"{path!r} holds no layer of I3D. Expected a file of `model.save` or "
            "`model.save_weights` of the I3D network itself, written by Keras 3.8 or "
            "later."
        )
    shapes = {name: array.shape for name, array in arrays.items()}
    return _Stored(shapes, lambda names: [arrays[name] for name in names])


def _prefix(shapes, wanted: Mapping[str, tuple[int, ...]]) -> str:
    """What the source puts before the published names of the network that fits best."""
    scores = collections.Counter()
    for stored, shape in shapes.items():
        for name, expected in wanted.items():
            if stored == name or stored.endswith(f"/{name}"):
                scores[stored[: -len(name)]] += 1 + _fits(shape, expected)
    most = max(scores.values(), default=0)
    best = [prefix for prefix, score in scores.items() if score == most]
    if len(best) > 1:
        raise ValueError(
            f"The source holds several I3D networks, under {', '.join(sorted(best))}. "
            "Save one of them alone."
        )
    return best[0] if best else ""


def _fits(stored: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Some checkpoints keep batch normalization as (1, 1, 1, 1, filters)."""
    return stored in (expected, (1, 1, 1, 1, *expected))


def _check_variable(name, expected, shapes, source) -> None:
    if name not in shapes:
        raise ValueError(
            f"{source} lacks {name}, for which the model has the shape {expected}. "
            f"It holds {len(shapes)} variables"
            + (f", the first being {min(shapes)}." if shapes else ".")
        )
    if _fits(shapes[name], expected):
        return
    fix = "build the model with the same width"
    if HEAD in name:
        fix = "build the model with as many classes, or pass include_head=False"
    elif "Conv3d_1a" in name and shapes[name][-1] == expected[-1]:
        fix = f"build the model with channels={shapes[name][-2]}"
    raise ValueError(
        f"{name} has the shape {shapes[name]} in {source}, but {expected} in the "
        f"model; {fix}."
    )
