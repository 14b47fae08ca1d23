"""The networks that can be teacher or student, by the name that --backbone takes."""

import dataclasses
import functools
import math
from collections.abc import Callable

import keras

from kd_keras.models.efficientnet_lite import EFFICIENTNET_LITE0
from kd_keras.models.i3d import I3D
from kd_keras.models.i3d_weights import load_i3d_weights
from kd_keras.models.layer_weights import load_layer_weights
from kd_keras.models.r2plus1d import R2Plus1D, visual_attributes
from kd_keras.models.temporal import TemporalConvolutions
from kd_keras.models.tsn import TSM, TSN


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What is known of a network by its name.

    Attributes:
        build: Its builder.
        feature_layers: The last layer of each size of map, from the first to the one
            before the head.
        stored_layer: The layer whose output is stored if no other is named.
        load_weights: (model, source, include_head) sets its weights.
        sees_segments: Whether it looks only at some frames of the clip.
        has_attributes: Whether visual attributes are a second input of its head.
        takes_features: Whether it takes another network's features, not pictures.
    """

    build: Callable[..., keras.Model]
    feature_layers: tuple[str, ...]
    stored_layer: str
    load_weights: Callable = load_layer_weights
    sees_segments: bool = False
    has_attributes: bool = False
    takes_features: bool = False


_MIXED = ("Mixed_3c", "Mixed_4f", "Mixed_5c")
_RESNET_50 = tuple(
    f"conv{stage}_block{blocks}_out"
    for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
)
_SMALL = tuple(f"conv{stage}_block1_out" for stage in (2, 3, 4, 5))
_R2PLUS1D = tuple(f"layer{stage}_1" for stage in (1, 2, 3, 4))
# Its blocks end in few channels with both signs. Before each stride there is a map of
# six times as many, after a ReLU as the maps of the other networks are.
_LITE = (
    *(f"block{stage}a_expand_activation" for stage in (2, 3, 4, 6)),
    "top_activation",
)

_residual = functools.partial(
    Backbone,
    feature_layers=_RESNET_50,
    stored_layer="conv4_block6_out",
    sees_segments=True,
)
_small = functools.partial(
    Backbone,
    feature_layers=_SMALL,
    stored_layer="conv3_block1_out",
    sees_segments=True,
)
_lite = functools.partial(
    Backbone,
    feature_layers=_LITE,
    stored_layer="block5c_add",
    load_weights=EFFICIENTNET_LITE0.load_weights,
    sees_segments=True,
)
_r2plus1d = functools.partial(
    Backbone, R2Plus1D, feature_layers=_R2PLUS1D, stored_layer="layer2_1"
)

BACKBONES = {
    "i3d": Backbone(I3D, _MIXED, "MaxPool3d_4a_3x3", load_i3d_weights),
    "tsn": _residual(TSN),
    "tsm": _residual(TSM),
    "tsn_small": _small(functools.partial(TSN, network="small")),
    "tsm_small": _small(functools.partial(TSM, network="small")),
    "tsn_lite": _lite(functools.partial(TSN, network="efficientnet_lite0")),
    "tsm_lite": _lite(functools.partial(TSM, network="efficientnet_lite0")),
    "r2plus1d": _r2plus1d(),
    "r2plus1d_attributes": _r2plus1d(has_attributes=True),
    "temporal": Backbone(
        TemporalConvolutions, ("temporal_3",), "temporal_1", takes_features=True
    ),
}

# Three positions along each axis. With fewer, attention has nothing to choose from.
_ENOUGH_TOKENS = 27


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
            batch_norm_momentum: As the builders take them. Of features, `image_size` is
            the height and the width of their maps.
        segments: Frames that the 2D networks, `tsn...` and `tsm...`, look at.
        attribute_weights: Of the frozen ImageNet network of `r2plus1d_attributes`:
            what `visual_attributes` takes.
        attribute_width: Scales that network's filters; 1 for the published weights.
    Shapes:
        Clips (batch, num_frames, height, width, channels) in [-1, 1], or features of
        any value, to logits.
    Raises:
        ValueError: If there is no such backbone or an argument is out of range.
    Examples:
        >>> import kd_keras
        >>> model = kd_keras.build_backbone("tsm_small", 5, 8, 32, width=0.1)
        >>> model.name, model.output.shape
        ('tsm_small', (None, 5))
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
    """Sets all weights of a model of `build_backbone`, or none if one does not fit.

    Visual attributes alone keep what they have: `attribute_weights` sets them.

    Raises:
        ValueError: If the source is missing or does not fit.
    Examples:
        A network for other classes takes all weights except the classifier's.

        >>> import tempfile
        >>> import numpy as np
        >>> import kd_keras
        >>> sizes = {"num_frames": 4, "image_size": 16, "width": 0.1, "segments": 2}
        >>> trained = kd_keras.build_backbone("tsn_small", num_classes=5, **sizes)
        >>> model = kd_keras.build_backbone("tsn_small", num_classes=3, **sizes)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     trained.save(f"{folder}/trained.keras")
        ...     kd_keras.load_backbone_weights(
        ...         model, f"{folder}/trained.keras", include_head=False
        ...     )
        >>> first, other = (m.get_layer("conv1_conv") for m in (trained, model))
        >>> np.array_equal(first.get_weights()[0], other.get_weights()[0])
        True
    """
    find(model.name).load_weights(model, source, include_head=include_head)


def default_feature_layer(model: keras.Model, behind: str | None = None) -> str:
    """Returns the layer whose map is distilled if no other is named.

    This is the deepest layer whose map has at least 27 tokens at the model's own input
    size. With fewer tokens, attention has nothing to choose from. If no map has that
    many, this is the layer with the most tokens.

    Args:
        model: What `build_backbone` built.
        behind: A layer; only those behind it are considered.
    Raises:
        ValueError: If none is behind it.
    Examples:
        `Mixed_4f` has 5x2x2 tokens here, which is too few.

        >>> import kd_keras
        >>> from kd_keras.models import default_feature_layer
        >>> model = kd_keras.build_backbone("i3d", 5, 17, 32, width=0.05)
        >>> default_feature_layer(model)
        'Mixed_3c'
    """
    names = [layer.name for layer in model.layers]
    start = -1 if behind is None else names.index(behind)
    sizes = {
        name: tokens_of(model, name)
        for name in find(model.name).feature_layers
        if names.index(name) > start
    }
    if not sizes:
        raise ValueError(
            f"{model.name} has no map to compare behind {behind}. Choose a layer "
            f"before {find(model.name).feature_layers[-1]}."
        )
    enough = [
        name for name, size in sizes.items() if size is None or size >= _ENOUGH_TOKENS
    ]
    return enough[-1] if enough else max(sizes, key=sizes.get)


def tokens_of(model: keras.Model, layer: str) -> int | None:
    """Returns the number of positions of a layer's map; None if it is not fixed."""
    positions = model.get_layer(layer).output.shape[1:-1]
    return None if None in positions else math.prod(positions)


def find(name: str) -> Backbone:
    """Returns the backbone of a name. Models of the backbone have the same name."""
    if name not in BACKBONES:
        raise ValueError(
            f"There is no backbone {name!r}. Choose one of {', '.join(BACKBONES)}."
        )
    return BACKBONES[name]
