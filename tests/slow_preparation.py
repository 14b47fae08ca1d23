"""Runs train.prepare with a pause in every record, for tests that kill it."""

import sys
import time

from train import prepare


def slow_down(pause_s):
    """Pauses in every record of this process."""
    from kd_keras.data.records import media_sequence

    for name in ("encode_clip", "encode_features"):
        encode = getattr(media_sequence, name)

        def slowly(*args, _encode=encode, **options):
            time.sleep(pause_s)
            return _encode(*args, **options)

        setattr(media_sequence, name, slowly)


if __name__ == "__main__":
    slow_down(float(sys.argv.pop(1)))
    prepare.run()
