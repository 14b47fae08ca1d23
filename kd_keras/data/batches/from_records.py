"""Records -> batches as one TensorFlow graph, which tf.data service can run elsewhere.

On one machine `from_clips` does the same over a `RecordLoader` with OpenCV, which
decodes faster; Python cannot travel to the workers of a service.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data import remote
from kd_keras.data.batches.fields import FUTURE, INDEX, LABEL, LABELED, OBSERVED
from kd_keras.data.batches.order import rows_of_worker
from kd_keras.data.batches.stream import Stream
from kd_keras.data.clips import augment
from kd_keras.data.clips.views import normalize_batch
from kd_keras.data.records import media_sequence
from kd_keras.data.records.clips import RecordLoader, clip_key

# The number of a batch, by which batches of a service are put in order.
_STEP = "step"
# Batches that may wait for one that a service has not delivered.
_MOST_WAITING = 32

# The random numbers of a clip, in the order of `augment.AugmentationParams`.
_TOP, _LEFT, _FLIP, _BRIGHTNESS, _CONTRAST, _SATURATION = range(6)


def training_batches(
    stream: Stream,
    loader: RecordLoader,
    *,
    shard: tuple[int, int] = (0, 1),
    augmentation: augment.Augmentation = augment.Augmentation(),  # noqa: B008 - frozen
    same_augmentation: bool = True,
    fields: Sequence[str] = (OBSERVED, FUTURE),
    as_uint8: bool = False,
    data_service: str | None = None,
) -> tf.data.Dataset:
    """Batches as `from_clips.training_batches` has them, by random numbers of its own.

    Everything depends on the seed and the position alone, but orders and random
    numbers differ from those of clips, whose generators TensorFlow lacks. Pairs that
    could not be read are left out. However many workers a service has, it gives the
    batches that this process would make: a batch is made by one of them, and those that
    come too early wait. One that does not come is made here.

    Args:
        stream: Which pairs are shown, from which step on; each once in a pass, whatever
            its `sampling` says.
        shard: As in `from_clips.training_batches`.
        data_service: Address of a dispatcher, such as "grpc://host:5000". Its workers
            must see the records under the same path. None runs the graph here.
    """
    seed, views = stream.seed, stream.views
    pairs = [
        (number, pair)
        for number, pair in enumerate(stream.pairs)
        if all(clip_key(getattr(pair, field)) in loader.records for field in fields)
    ]
    if not pairs:
        raise ValueError(f"{loader.records.folder} holds none of the pairs.")
    places = {
        field: _places(loader.records, [getattr(pair, field) for _, pair in pairs])
        for field in fields
    }
    numbers = tf.constant([number for number, _ in pairs], tf.int64)
    labels = [0 if pair.label is None else pair.label for _, pair in pairs]
    labels = tf.constant(labels, tf.int32)
    labeled = tf.constant([pair.label is not None for _, pair in pairs])
    clip_format = loader.clip_format

    def at(position):
        """One pair, as a data set of one element, so that reading runs ahead."""
        epoch, place = position // len(pairs), position % len(pairs)
        order_seed = tf.stack([tf.constant(seed, tf.int64), epoch])
        index = tf.random.experimental.index_shuffle(
            place, tf.cast(order_seed, tf.int32), len(pairs) - 1
        )
        key = [seed, position]
        if views:
            # Unlike any position's.
            key = [-1, index * views + epoch % views]
        params = tf.random.stateless_uniform([2, 6], tf.cast(tf.stack(key), tf.int64))
        one = {
            INDEX: tf.data.Dataset.from_tensors(numbers[index]),
            LABEL: tf.data.Dataset.from_tensors(labels[index]),
            LABELED: tf.data.Dataset.from_tensors(labeled[index]),
        }
        for number, field in enumerate(fields):
            own = params[0 if same_augmentation else number]
            paths, files, starts = places[field]
            one[field] = _record_at(paths[files[index]], starts[index]).map(
                lambda record, own=own: _clip(record, own, augmentation, clip_format)
            )
        return tf.data.Dataset.zip(one)

    size = stream.batch_size
    own = rows_of_worker(*shard, size)

    def batch_at(step):
        """A batch, as a data set of one element: the unit that a service shares out."""
        step = tf.cast(step, tf.int64)
        first = step * size
        rows = tf.data.Dataset.range(first + own.start, first + own.stop).interleave(
            at, cycle_length=16, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        batches = rows.batch(len(own), drop_remainder=True)
        return batches.map(lambda batch: {_STEP: step, **batch})

    steps = tf.data.Dataset.range(stream.start_step, tf.int64.max)
    dataset = steps.interleave(
        batch_at, cycle_length=2, num_parallel_calls=2, deterministic=True
    )
    if data_service is not None:
        # Bytes travel; floats would be four times as many.
        dataset = dataset.apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC, data_service
            )
        )
        dataset = tf.data.Dataset.from_generator(
            lambda delivered=dataset: _in_order(
                delivered, stream.start_step, lambda step: next(iter(batch_at(step)))
            ),
            output_signature=dataset.element_spec,
        )

    def finish(batch):
        batch = {name: value for name, value in batch.items() if name != _STEP}
        flow_scale = clip_format.flow_scale
        return batch if as_uint8 else normalize_batch(batch, flow_scale)

    return dataset.map(finish).prefetch(2)


def _in_order(batches, step, make):
    """Yields batches by their number, from `step` on; `make` makes one that is lost."""
    waiting = {}
    for batch in batches:
        number = int(batch[_STEP])
        if number >= step:
            waiting[number] = batch
        if len(waiting) > _MOST_WAITING and step not in waiting:
            waiting[step] = make(step)
        while step in waiting:
            yield waiting.pop(step)
            step += 1


def _places(records, clips):
    """The files, and of each clip the file's number and where its record starts."""
    remote.require_file_system(records.folder)
    found = [records.place(clip_key(clip)) for clip in clips]
    # A million clips lie in thousands of files.
    paths, files = np.unique([path for path, _ in found], return_inverse=True)
    starts = tf.constant([start for _, start in found], tf.int64)
    return tf.constant(paths.astype(object)), tf.constant(files, tf.int64), starts


def _record_at(path, start):
    """A data set of the record that starts at this byte; its checksum is checked."""
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=2**18, byte_offsets=[start]
    )
    spec = tf.TensorSpec([], tf.string)
    return tf.data.experimental.from_variant(variant, spec).take(1)


def _clip(record, params, augmentation, clip_format):
    """uint8 (num_frames, size, size, channels): cut out when decoded, and changed."""
    is_flow, size = clip_format.modality == "flow", clip_format.image_size
    prefix = f"{media_sequence.FORWARD_FLOW}/" if is_flow else ""
    height, width, index, encoded = _stream(record, prefix)
    room = tf.cast(tf.stack([height, width]), tf.int32) - size
    corner = room // 2
    if augmentation.crop:
        place = params[_TOP : _LEFT + 1] * tf.cast(room + 1, tf.float32)
        corner = tf.minimum(tf.cast(place, tf.int32), room)
    decode = _cut_flow if is_flow else _cut_frame
    frames = tf.map_fn(
        lambda image: decode(image, tf.concat([corner, [size, size]], 0)),
        encoded,
        fn_output_signature=tf.TensorSpec([None, None, None], tf.uint8),
    )
    frames = tf.gather(frames, index)
    channels = clip_format.channels
    frames = tf.ensure_shape(frames, [clip_format.num_frames, size, size, channels])
    if augmentation.flip:
        is_flipped = params[_FLIP] < augmentation.flip
        mirrored = tf.reverse(frames, [2])
        if is_flow:
            levels = tf.constant(clip_format.flow_encoding.mirrored())
            u, v = tf.unstack(mirrored, axis=-1)
            mirrored = tf.stack([tf.gather(levels, tf.cast(u, tf.int32)), v], -1)
        frames = tf.where(is_flipped, mirrored, frames)
    if is_flow:
        return frames
    if augmentation.brightness or augmentation.contrast or augmentation.saturation:
        frames = _colored(frames, params, augmentation)
    return frames


def _stream(record, prefix):
    """Height, width, image of each frame, and images of a stream of a record."""
    context, lists = tf.io.parse_single_sequence_example(
        record,
        {
            prefix + media_sequence.IMAGE_HEIGHT: tf.io.FixedLenFeature([], tf.int64),
            prefix + media_sequence.IMAGE_WIDTH: tf.io.FixedLenFeature([], tf.int64),
            prefix + media_sequence.FRAME_INDEX: tf.io.VarLenFeature(tf.int64),
        },
        {
            prefix + media_sequence.IMAGE_ENCODED: tf.io.FixedLenSequenceFeature(
                [], tf.string
            )
        },
    )
    return (
        context[prefix + media_sequence.IMAGE_HEIGHT],
        context[prefix + media_sequence.IMAGE_WIDTH],
        context[prefix + media_sequence.FRAME_INDEX].values,
        lists[prefix + media_sequence.IMAGE_ENCODED],
    )


def _cut_frame(image, window):
    return tf.image.decode_and_crop_jpeg(image, window, channels=3)


def _cut_flow(image, window):
    top, left, height, width = tf.unstack(window)
    levels = tf.io.decode_png(image, channels=3)[..., :2]
    return levels[top : top + height, left : left + width]


def _colored(frames, params, augmentation):
    """Saturation, then contrast, then brightness, as in `augment.augment`."""

    def factor(number, strength):
        return 1 + strength * (2 * params[number] - 1)

    saturation = factor(_SATURATION, augmentation.saturation)
    contrast = factor(_CONTRAST, augmentation.contrast)
    added = 255 * (factor(_BRIGHTNESS, augmentation.brightness) - 1)
    gray = tf.constant(augment.GRAY, tf.float32)
    colors = tf.cast(frames, tf.float32)
    mean_gray = tf.tensordot(tf.reduce_mean(colors, [0, 1, 2]), gray, 1)
    mixed = saturation * tf.eye(3) + (1 - saturation) * tf.tile(gray[None], [3, 1])
    colors = tf.tensordot(colors, contrast * mixed, [[3], [1]])
    colors += (1 - contrast) * mean_gray + added
    return tf.cast(tf.clip_by_value(tf.round(colors), 0, 255), tf.uint8)
