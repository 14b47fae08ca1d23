"""Runs train.prepare with a pause in every record, for tests that kill it."""

import sys
import time

from train import prepare


def before_each_record(wait):
    """Makes this process call a function before each record that it encodes."""
    from kd_keras.data.records import media_sequence

    for name in ("encode_clip", "encode_features"):
        encode = getattr(media_sequence, name)

        def later(*args, _encode=encode, **options):
            wait()
            return _encode(*args, **options)

        setattr(media_sequence, name, later)


if __name__ == "__main__":
    pause_s = float(sys.argv.pop(1))
    before_each_record(lambda: time.sleep(pause_s))
    prepare.run()
