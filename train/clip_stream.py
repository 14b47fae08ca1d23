"""Writes clips of a finished run to standard output, for a program beside it.

    python -m train.clip_stream RUN_DIR training|validation COUNT

By these `export.main` measures what a lower precision costs. At most COUNT labeled
clips of the part come, spread evenly over it. Each batch is two arrays in NumPy's
format, one behind the other: the central crops, float32 (batch, time, height, width,
channels) as a network sees them, and the labels, int64 (batch,).
"""

import io
import os
import sys
from typing import BinaryIO

import numpy as np

from kd_keras import console


def write_clips(
    run_dir: str | os.PathLike, part: str, count: int, file: BinaryIO
) -> None:
    """Writes the batches to an open file.

    Args:
        run_dir: A folder of a finished run.
        part: `training`, or `validation`: the pairs that chose the student.
        count: Number of clips at most.
    Raises:
        ValueError: If the run has no such clips, or the folder is no run's.
    """
    # TensorFlow takes seconds to import.
    from kd_keras.data.batches import from_clips
    from kd_keras.data.batches.fields import LABEL, OBSERVED
    from train.finished_run import FinishedRun

    run = FinishedRun(run_dir)
    pairs = {"training": run.data.labeled, "validation": run.data.choosing}[part]
    if not pairs:
        fix = "Label some, or give --precision=bfloat16, which needs none."
        if part == "validation":
            fix = "Give the data set a val part, or hold videos out by --holdout=0.1."
        raise ValueError(f"{run_dir} has no labeled clips for {part}. {fix}")
    count = min(count, len(pairs))
    chosen = np.linspace(0, len(pairs) - 1, count).astype(int)
    batches = from_clips.evaluation_batches(
        [pairs[index] for index in chosen],
        run.data.loader,
        batch_size=run.config.training.batch_size,
        fields=(OBSERVED,),
    )
    for batch in batches:
        for array in (batch[OBSERVED].numpy(), batch[LABEL].numpy().astype(np.int64)):
            # NumPy would look for the place in a file, and a pipe has none.
            np.save(content := io.BytesIO(), array, allow_pickle=False)
            file.write(content.getvalue())


def main(run_dir: str, part: str, count: str) -> int:
    # Whatever is printed on the way goes to standard error.
    with os.fdopen(os.dup(1), "wb") as file:
        os.dup2(2, 1)
        console.import_tensorflow()
        try:
            write_clips(run_dir, part, int(count), file)
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
