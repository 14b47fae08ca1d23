"""Turns a published I3D checkpoint into a Keras weights file.

python -m kd_keras.models.convert --source=CHECKPOINT --output=i3d_rgb.weights.h5

The file needs no TensorFlow: `kd_keras.I3D(weights="i3d_rgb.weights.h5")`.
"""

import os
import pathlib

from absl import app, flags

from kd_keras import console
from kd_keras.aside import written_aside


def convert(
    source: str,
    output: str | pathlib.Path,
    channels: int | None = None,
    num_classes: int | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the weights in `source` to `output`, which appears only when complete.

    Raises:
        ValueError: If `output` exists or has another ending, or `source` does not fit.
    """
    # A backend takes seconds to import, so flags are read first.
    from kd_keras.models import I3D, i3d_weights

    output = pathlib.Path(output)
    if not output.name.endswith(".weights.h5"):
        raise ValueError(f"--output must end in .weights.h5. Got {output}.")
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists. Pass --overwrite to replace it.")
    shapes = i3d_weights.stored_shapes(source)
    if channels is None:
        channels = _size(shapes, "Conv3d_1a_7x7/conv_3d/w", -2, "channels")
    if num_classes is None:
        num_classes = _size(shapes, f"{i3d_weights.HEAD}/b", -1, "num_classes")
    model = I3D(num_classes, channels=channels, weights=source)
    output.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(output) as aside:
        model.save_weights(aside)


def _size(shapes, variable: str, axis: int, flag: str) -> int:
    """Size that every variable of this published name has along `axis`."""
    sizes = {
        shape[axis]
        for name, shape in shapes.items()
        if name == variable or name.endswith(f"/{variable}")
    }
    if len(sizes) != 1:
        raise ValueError(
            f"The source has {sorted(sizes) or 'nothing'} for {flag} at {variable}; "
            f"pass --{flag}."
        )
    return sizes.pop()


def main(_) -> None:
    args = flags.FLAGS
    if args.source is None or args.output is None:
        raise app.UsageError("Give both --source, the checkpoint, and --output.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with console.without_noise():
            convert(
                *(args.source, args.output),
                *(args.channels, args.num_classes, args.overwrite),
            )
    except ValueError as error:
        raise app.UsageError(str(error)) from error
    print(f"Wrote {args.output}")


def _define_flags() -> None:
    """Not at import: programs that import `convert` have flags of these names too."""
    flags.DEFINE_string(
        "source",
        None,
        "TF-Hub handle, folder of a TF-Hub module or of TensorFlow checkpoints, or "
        "checkpoint prefix (the path without .index).",
    )
    flags.DEFINE_string("output", None, "File to write; ends in .weights.h5.")
    flags.DEFINE_integer(
        "channels",
        None,
        "Channels of the clips: 3 for RGB, 2 for optical flow. Read off the source if "
        "not given.",
        lower_bound=1,
        upper_bound=3,
    )
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Classes of the source. Read off the source if not given.",
        lower_bound=1,
    )
    flags.DEFINE_bool("overwrite", False, "Replace --output if it exists.")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
