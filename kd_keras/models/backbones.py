"""The networks that can be teacher or student, by the name that --backbone takes."""

import dataclasses
import functools
from collections.abc import Callable

import keras

from kd_keras.models.i3d import I3D
from kd_keras.models.layer_weights import load_layer_weights
from kd_keras.models.r2plus1d import R2Plus1D, visual_attributes
from kd_keras.models.tsn import TSM, TSN
from kd_keras.models.weights import load_i3d_weights


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What is known of a network by its name.

    Attributes:
        build: Its builder.
        feature_layer: The layer whose map is distilled unless another is named: the
            last one before the head.
        load_weights: (model, source, include_head) sets its weights.
        sees_segments: Whether it looks at some frames of the clip alone.
        has_attributes: Whether it has visual attributes beside it.
    """

    build: Callable[..., keras.Model]
    feature_layer: str
    load_weights: Callable = load_layer_weights
    sees_segments: bool = False
    has_attributes: bool = False


BACKBONES = {
    "i3d": Backbone(I3D, "Mixed_5c", load_i3d_weights),
    "tsn": Backbone(TSN, "conv5_block3_out", sees_segments=True),
    "tsm": Backbone(TSM, "conv5_block3_out", sees_segments=True),
    "tsn_small": Backbone(
        functools.partial(TSN, network="small"), "conv5_block1_out", sees_segments=True
    ),
    "tsm_small": Backbone(
        functools.partial(TSM, network="small"), "conv5_block1_out", sees_segments=True
    ),
    "r2plus1d": Backbone(R2Plus1D, "layer4_1"),
    "r2plus1d_attributes": Backbone(R2Plus1D, "layer4_1", has_attributes=True),
}


def build_backbone(
    name: str,
    num_classes: int,
    num_frames: int,
    image_size: int | tuple[int, int],
    channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.99,
    segments: int = 8,
    attribute_weights: str | None = "imagenet",
    attribute_width: float = 1.0,
) -> keras.Model:
    """Builds a network from clips to logits, named as the backbone.

    Args:
        name: One of `BACKBONES`.
        num_classes, num_frames, image_size, channels, width, dropout,
            batch_norm_momentum: As the builders take them.
        segments: Frames that `tsn` and `tsm` look at.
        attribute_weights: Of the frozen ImageNet network of `r2plus1d_attributes`:
            what `visual_attributes` takes.
        attribute_width: Scales that network's filters; 1 for the published weights.
    Shapes:
        Clips (batch, num_frames, height, width, channels) in [-1, 1] to logits.
    Raises:
        ValueError: If there is no such backbone or an argument is out of range.
    """
    backbone = find(name)
    options = {}
    if backbone.sees_segments:
        options["segments"] = segments
    if backbone.has_attributes:
        if channels != 3:
            raise ValueError(
                f"Visual attributes are of RGB frames. Got {channels} channels; use "
                "r2plus1d."
            )
        options["attributes"] = visual_attributes(
            num_frames, image_size, attribute_weights, width=attribute_width
        )
    return backbone.build(
        num_classes,
        num_frames,
        image_size,
        channels=channels,
        width=width,
        dropout=dropout,
        batch_norm_momentum=batch_norm_momentum,
        name=name,
        **options,
    )


def load_backbone_weights(
    model: keras.Model, source: str, include_head: bool = True
) -> None:
    """Sets the weights of what `build_backbone` built, all or nothing.

    Raises:
        ValueError: If the source is missing or does not fit.
    """
    find(model.name).load_weights(model, source, include_head=include_head)


def default_feature_layer(name: str) -> str:
    """The layer whose map is distilled where no other is named."""
    return find(name).feature_layer


def find(name: str) -> Backbone:
    """Returns the backbone of a name, which its models have too."""
    if name not in BACKBONES:
        raise ValueError(
            f"There is no backbone {name!r}. Choose one of {', '.join(BACKBONES)}."
        )
    return BACKBONES[name]
