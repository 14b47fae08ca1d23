"""Test-time crops: what an evaluated network sees of a clip, mirror images included."""

import dataclasses

import keras
import tensorflow as tf

from train.flags.data import Augmentation


@dataclasses.dataclass(frozen=True)
class Crops:
    """Which crops of a clip there are, the central one first.

    Attributes:
        corners: Whether there are crops in the four corners, beside the central one.
        mirrored: Whether the mirror image of each crop counts as one more.
    """

    corners: bool = False
    mirrored: bool = False

    @property
    def num_positions(self) -> int:
        """Places that crops are cut out at; a mirror image has none of its own."""
        return 5 if self.corners else 1

    def __len__(self) -> int:
        return self.num_positions * (2 if self.mirrored else 1)


def crops_of(augmentation: Augmentation) -> Crops:
    """Returns the `Crops` of --test_crops, as far as training showed such.

    Args:
        augmentation: The run's `Augmentation` flags.
    """
    return Crops(
        corners=augmentation.test_crops == "ten" and augmentation.crop,
        mirrored=augmentation.test_crops != "center" and augmentation.flip > 0,
    )


class MultiCropPredictor:
    """Computes a network's logits for each crop of a clip, in one compiled function.

    Args:
        model: A network from clips to logits.
        crops: The `Crops`.
    Attributes:
        crops: As given.
        function: Clips -> logits (batch, crops, num_classes). With corners, clips have
            an axis of positions behind the batch.
    """

    def __init__(self, model: keras.Model, crops: Crops = Crops()) -> None:
        self.crops = crops

        def predict(clips: tf.Tensor) -> tf.Tensor:
            if not crops.corners:
                return _predict_crop(clips)
            positions = tf.experimental.numpy.moveaxis(clips, 1, 0)
            # One after the other: together they would need five times the memory.
            logits = tf.map_fn(
                _predict_crop,
                positions,
                parallel_iterations=1,
                fn_output_signature=tf.float32,
            )
            return tf.concat(tf.unstack(logits, crops.num_positions), axis=1)

        def _predict_crop(crop: tf.Tensor) -> tf.Tensor:
            images = [crop, _mirror(crop)] if crops.mirrored else [crop]
            logits = [model(image, training=False) for image in images]
            return tf.stack(logits, axis=1)

        self.function = tf.function(predict, reduce_retracing=True, autograph=False)


def _mirror(clips: tf.Tensor) -> tf.Tensor:
    clips = clips[:, :, :, ::-1]
    # Flow that went right goes left.
    return clips * (-1.0, 1.0) if clips.shape[-1] == 2 else clips
