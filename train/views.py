"""The views of a clip that an evaluated network sees: crops and mirror images."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Views:
    """Which views of a clip there are, the central crop first.

    Attributes:
        corners: Whether the crops in the four corners are views, beside the central.
        mirrored: Whether the mirror image of each crop is one.
    """

    corners: bool = False
    mirrored: bool = False

    @property
    def num_crops(self):
        return 5 if self.corners else 1

    def __len__(self):
        return self.num_crops * (2 if self.mirrored else 1)


def views_of(options):
    """Returns the views that --test_views asks for, as far as training showed such.

    Args:
        options: The run's `Augmentation`.
    """
    return Views(
        corners=options.test_views == "ten" and options.crop,
        mirrored=options.test_views != "one" and options.flip > 0,
    )


class Answer:
    """Asks a network, of each view of a clip; traced once for all calls.

    Args:
        model: A network from clips to logits.
        views: The `Views`.
    Attributes:
        views: As given.
        function: Clips -> logits (batch, views, num_classes). With corners, clips have
            an axis of crops behind the batch.
    """

    def __init__(self, model, views=Views()):
        self.views = views

        def ask(clips):
            if not views.corners:
                return _ask_crop(clips)
            crops = tf.experimental.numpy.moveaxis(clips, 1, 0)
            # One after the other: together they would need five times the memory.
            logits = tf.map_fn(
                _ask_crop,
                crops,
                parallel_iterations=1,
                fn_output_signature=tf.float32,
            )
            return tf.concat(tf.unstack(logits, views.num_crops), axis=1)

        def _ask_crop(crop):
            images = [crop, _mirror(crop)] if views.mirrored else [crop]
            logits = [model(image, training=False) for image in images]
            return tf.stack(logits, axis=1)

        self.function = tf.function(ask, reduce_retracing=True, autograph=False)


def _mirror(clips):
    clips = clips[:, :, :, ::-1]
    # Flow that went right goes left.
    return clips * (-1.0, 1.0) if clips.shape[-1] == 2 else clips
