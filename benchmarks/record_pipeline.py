"""Speed of reading augmented clips from records, beside bare decoding and a DataLoader.

python -m benchmarks.record_pipeline

Bare decoding is OpenCV, or simplejpeg, over the same JPEGs with a thread per core and
nothing else; the DataLoader is PyTorch's, where it is installed, with two workers that
decode with OpenCV and change clips by the same code. All are timed in turn, several
times. Clips are cropped and mirrored, as runs do by default, and handed on as uint8;
"colors" also changes brightness, contrast and saturation, and "floats" are clips in
[-1, 1], which otherwise the step makes of them.
"""

import argparse
import concurrent.futures
import gc
import pathlib
import statistics
import tempfile
import time

import cv2
import numpy as np
import simplejpeg

from kd_keras.data.batches import from_clips
from kd_keras.data.batches.fields import OBSERVED
from kd_keras.data.batches.stream import Stream
from kd_keras.data.clips import augment
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.parallel import num_cores
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import media_sequence
from kd_keras.data.records.shard_writer import write_shards
from kd_keras.data.segments import TRAIN, Clip, Pair
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video

_FORMAT = ClipFormat(num_frames=16, image_size=224, fit="stretch")
# As runs have it by default, and as the flags' help says to try.
_AUGMENTATIONS = {
    "": augment.Augmentation(),
    ", colors": augment.Augmentation(brightness=0.1, contrast=0.2, saturation=0.2),
}
_BATCH = 4
# Of each timed stretch, so that what is read ahead at its end counts for little.
_PASSES = 4


def measure(num_clips, rounds):
    """Returns the frames per second of each way in each round, by name."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        loader, pairs = _prepare(pathlib.Path(folder), num_clips)
        images = [
            media_sequence.parse_images(
                loader.records.read(clip_records.clip_key(pair.observed))
            ).encoded
            for pair in pairs
        ]
        size = sum(len(image) for clip in images for image in clip)
        count = sum(map(len, images))
        print(f"{count} frames of 256x256, {size / count / 1000:.0f} kB each")
        ways = {
            f"records{name}": _pipeline(pairs, loader, augmentation)
            for name, augmentation in _AUGMENTATIONS.items()
        }
        ways["records, floats"] = _pipeline(
            pairs, loader, augment.Augmentation(), as_uint8=False
        )
        ways["OpenCV"] = _bare(images, _opencv)
        ways["simplejpeg"] = _bare(images, simplejpeg.decode_jpeg)
        try:
            for name, augmentation in _AUGMENTATIONS.items():
                ways[f"DataLoader{name}"] = _data_loader(images, augmentation)
        except ImportError:
            print("PyTorch is not installed.")
        # As train.main does.
        gc.collect()
        gc.freeze()
        rates = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                frames = way()
                rate = frames / (time.perf_counter() - start)
                # The first round warms up.
                if number:
                    rates[name].append(rate)
        return rates


def _prepare(folder, num_clips):
    """Records of clips of a generated recording with camera noise."""
    draws = np.random.default_rng(0)
    blocks = draws.integers(0, 255, (12, 32, 3), np.uint8)
    scene = cv2.resize(blocks, (1280, 360), interpolation=cv2.INTER_CUBIC)

    def frames():
        for number in range(num_clips * 8 + 16):
            left = number * 4 % 640
            noise = draws.normal(0, 5, (360, 640, 3))
            picture = scene[:, left : left + 640] + noise
            yield np.clip(picture, 0, 255).astype(np.uint8)

    path = folder / "video.mp4"
    reading.write_video(path, frames(), 16)
    videos = {"video": Video("video", path, TRAIN)}
    pairs = [
        Pair(Clip("video", k / 2, k / 2 + 1), Clip("video", k / 2, k / 2 + 1), 0)
        for k in range(num_clips)
    ]
    records = write_shards(
        folder / "records",
        clip_records.clip_shards([pair.observed for pair in pairs]),
        clip_records.ClipRecorder(
            videos, {"video": reading.probe(videos["video"])}, _FORMAT
        ),
        kind=clip_records.KIND,
        fingerprint=clip_records.format_values(_FORMAT),
        rerun_command="",
        expected_bytes=1,
        progress=False,
    )
    return clip_records.RecordLoader(records, _FORMAT), pairs


def _pipeline(pairs, loader, augmentation, as_uint8=True):
    batches = from_clips.training_batches(
        Stream(pairs, _BATCH),
        loader,
        augmentation=augmentation,
        fields=(OBSERVED,),
        as_uint8=as_uint8,
    ).take(_PASSES * len(pairs) // _BATCH)

    def read():
        # A new iterator: another would have read ahead while the others were timed.
        return sum(batch[OBSERVED].shape[0] for batch in batches) * (_FORMAT.num_frames)

    return read


def _bare(images, decode):
    def decode_clip(clip):
        for image in clip:
            decode(image)

    def decode_all():
        with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
            list(pool.map(decode_clip, images))
        return sum(map(len, images))

    return decode_all


def _opencv(image):
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)


def _data_loader(images, augmentation):
    import torch.utils.data

    class Clips(torch.utils.data.Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            clip = np.stack([_opencv(image) for image in images[index]])
            params = augment.AugmentationParams(*np.random.random(6).tolist())
            return torch.from_numpy(augment.augment(clip, 224, augmentation, params))

    clips = Clips()
    loader = torch.utils.data.DataLoader(
        clips,
        batch_size=_BATCH,
        sampler=torch.utils.data.RandomSampler(
            clips, num_samples=_PASSES * len(images)
        ),
        num_workers=2,
        persistent_workers=True,
        drop_last=True,
    )

    def read():
        return sum(batch.shape[0] * batch.shape[1] for batch in loader)

    return read


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rates = measure(arguments.clips, arguments.rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'':20}{'frames/s':>10}{'records / it':>14}")
    for name, median in medians.items():
        # Each beside those that change clips as it does.
        records = "records, colors" if name.endswith(", colors") else "records"
        print(f"{name:20}{median:10.0f}{medians[records] / median:14.2f}")


if __name__ == "__main__":
    main()
