"""Where a network looks for the class that it names (Grad-CAM).

Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization, ICCV 2017.
"""

from collections.abc import Sequence

import cv2
import keras
import matplotlib
import numpy as np
import tensorflow as tf

from kd_keras import visualise
from kd_keras.training.feature_reader import feature_reader

# Of the picture, where the activation is highest.
_MOST_COVERED = 0.6


def class_activation(
    model: keras.Model,
    layer: str,
    clips: np.ndarray | tf.Tensor,
    classes: Sequence[int],
) -> np.ndarray:
    """Returns how much each position of a map speaks for a class, from 0 to 1.

    It is the positive part of the features, each channel weighted by the mean gradient
    of the class's logit, divided by its largest value in the clip.

    Args:
        model: Network from clips to logits.
        layer: Name of the layer whose map it is.
        clips: As the network takes them (batch, time, height, width, channels).
        classes: A class index for each clip.
    Returns:
        (batch, map time, map height, map width), 0 everywhere if nothing speaks for it.
    """
    read = feature_reader(model, layer)
    with tf.GradientTape() as tape:
        clips = tf.convert_to_tensor(clips)
        tape.watch(clips)
        logits, features = read(clips)
        chosen = tf.gather(logits, tf.convert_to_tensor(classes), batch_dims=1)
    gradient = tape.gradient(chosen, features)
    weights = tf.reduce_mean(gradient, axis=(1, 2, 3), keepdims=True)
    activation = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()
    highest = activation.max(axis=(1, 2, 3), keepdims=True)
    return np.divide(
        activation, highest, out=np.zeros_like(activation), where=highest > 0
    )


def overlay(clip: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Returns a clip with an activation drawn on it in viridis.

    Args:
        clip: (time, height, width, channels), uint8 or in [-1, 1].
        activation: (map time, map height, map width) in [0, 1].
    """
    frames = visualise.as_rgb(clip)
    steps = np.arange(len(frames)) * len(activation) // len(frames)
    colors = matplotlib.colormaps["viridis"]
    drawn = []
    for frame, step in zip(frames, steps, strict=True):
        size = frame.shape[1], frame.shape[0]
        share = cv2.resize(activation[step], size, interpolation=cv2.INTER_LINEAR)
        share = np.clip(share, 0, 1)[..., None]
        color = 255 * colors(share[..., 0])[..., :3]
        covered = _MOST_COVERED * np.sqrt(share)
        drawn.append(np.round((1 - covered) * frame + covered * color))
    return np.stack(drawn).astype(np.uint8)
