"""What a run is made of: every flag, once, with its unit and bounds.

A dataclass field is a flag: `define_flags` makes the flags from the fields, and
`from_flags` the frozen dataclasses from the flags. Nothing else reads a flag.
"""

import dataclasses

from absl import flags

from train import data_defaults, flag_fields
from train.flag_fields import flag as _flag
from train.flag_fields import start_flag as _start_flag

# As in kd_keras.models.backbones, which takes seconds to import.
BACKBONES = (
    "i3d",
    "tsn",
    "tsm",
    "tsn_small",
    "tsm_small",
    "r2plus1d",
    "r2plus1d_attributes",
)


@dataclasses.dataclass(frozen=True)
class Run:
    """What is done, where it is kept, and what makes it repeatable."""

    task: str = _flag(
        "all",
        "teacher: train the teacher. student: train the students from the teacher that "
        "the run directory or --teacher holds. evaluate: evaluate the networks that "
        "the run directory holds. all: train, evaluate and export.",
        choices=("all", "teacher", "student", "evaluate"),
    )
    run_dir: str | None = _flag(
        None,
        "Folder of the run, on this machine. The same command given again continues or "
        "reports it.",
    )
    teacher: str | None = _flag(
        None, "A trained teacher (.keras) to use; none is trained then."
    )
    fuse: tuple[str, ...] = _flag(
        (),
        "RUN_RGB,RUN_FLOW: folders of two trained runs that --task=evaluate adds up, "
        "logits to logits, and reports beside each alone. The data is theirs.",
    )
    fuse_weights: tuple[float, ...] = _flag(
        (1.0, 1.0), "What the logits of RUN_RGB and RUN_FLOW are multiplied by."
    )
    seed: int = _flag(0, "Seed of weights, order and augmentation.", lower=0)
    deterministic: bool = _flag(
        False, "Give the same weights at every repetition on one device; slower."
    )
    export: bool = _flag(True, "Export the best student for TF Serving at the end.")
    dtype_policy: str = _flag(
        "float32",
        "Keras policy of the networks; losses and logits are float32 under each.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )


@dataclasses.dataclass(frozen=True)
class Data:
    """Which videos, and which clips of them."""

    dataset: str = _flag(
        "csv",
        "csv: your videos and a CSV. jhmdb, epic_kitchens, thumos14: J-HMDB, "
        "EPIC-KITCHENS-55, THUMOS14 in their official layouts. demo: videos that are "
        "generated into the run directory.",
        choices=("csv", "jhmdb", "epic_kitchens", "thumos14", "demo"),
    )
    annotations: str | None = _flag(
        None, "CSV with the columns video,start,end,label,split (--dataset=csv)."
    )
    video_root: str | None = _flag(
        None, "Folder that the CSV's video paths start from (--dataset=csv)."
    )
    data_root: str | None = _flag(
        None,
        "Folder of the release. jhmdb: Rename_Images or ReCompress_Videos, and splits. "
        "epic_kitchens: the CSV files or annotations, and rgb or videos. thumos14: "
        "annotations_val, annotations_test, video_info.json and the videos.",
    )
    split: int = _flag(1, "J-HMDB's split.", lower=1, upper=3)
    epic_split: str = _flag(
        "p01_p25",
        "EPIC-KITCHENS' split. p01_p25: the paper's, participants P01-P25 train "
        "(23,191 segments), P26-P31 validate (5,281). rulstm: by lists of videos "
        "(23,493 and 4,979). They never compare.",
        choices=("p01_p25", "rulstm"),
    )
    epic_target: str = _flag(
        "verb",
        "What a label of EPIC-KITCHENS is: one of 125 verbs or of 352 nouns.",
        choices=("verb", "noun"),
    )
    media_frame_rate: float = _flag(
        60.0,
        "Frames per second of EPIC-KITCHENS' folders and tars of frames; 60 as "
        "released. Videos know their own.",
        lower=0.1,
    )
    demo_videos: int = _flag(160, "Generated videos.", lower=3)
    demo_labeled_fraction: float = _flag(
        0.2,
        "Fraction of the generated training segments with a label.",
        lower=0.01,
        upper=1.0,
    )
    eval_part: str = _flag(
        "auto",
        "Part that is evaluated; auto takes val where the data set has one, else test.",
        choices=("auto", "val", "test"),
    )
    max_bad_videos: float = _flag(
        0.01,
        "Fraction of unreadable videos that are skipped; one always is, more stop.",
        lower=0.0,
        upper=1.0,
    )
    labeled_fraction: float = _flag(
        1.0,
        "Fraction of the training segments whose label is used; the rest counts as "
        "unlabeled.",
        lower=1e-6,
        upper=1.0,
    )
    label_seed: int = _flag(0, "Seed of the choice of --labeled_fraction.", lower=0)
    lead_time_s: float = _flag(
        1.0,
        "Seconds from the end of the observed clip to the start of the action.",
        lower=0.0,
    )
    frame_rate: float | None = _flag(
        None,
        "Frames per second at which --num_frames are taken of the observed clip, "
        "instead of --observed_s. By default 30 with --dataset=epic_kitchens.",
        lower=0.1,
    )
    observed_s: float | None = _flag(
        None,
        "Length of the observed clip in seconds. By default --num_frames / "
        "--frame_rate where there is one, 1 with --dataset=thumos14, else 2.",
        lower=0.01,
    )
    future_s: float | None = _flag(
        None,
        "Length of the future clip in seconds from the action's start; 0 is the whole "
        "action. By default --observed_s with --dataset=epic_kitchens, else 0.",
        lower=0.0,
    )
    include_action_segments: bool = _flag(
        False,
        "Train students also on the future clips of the labeled pairs, as if they had "
        "been observed (the paper's data augmentation).",
    )
    observed_fraction: float | None = _flag(
        None,
        "Observe this first part of the action itself, instead of what comes before "
        "it (J-HMDB: 0.2); --lead_time_s and --observed_s mean nothing then.",
        lower=0.01,
        upper=1.0,
    )
    unlabeled_pairs: int | None = _flag(
        None,
        "Number of unlabeled pairs, drawn under --label_seed; by default all of a "
        "regular grid. Windows of footage overlap when it is more than fit.",
        lower=0,
    )
    unlabeled_rule: str = _flag(
        "future_in_gap",
        "Which footage unlabeled pairs are cut from. gaps: both clips within one gap "
        "between labeled segments. future_in_gap: the future clip alone. anywhere: any "
        "position in a training video.",
        choices=("gaps", "future_in_gap", "anywhere"),
    )
    unlabeled_list: str | None = _flag(
        None,
        "CSV of the unlabeled pairs to use, such as the pairs_unlabeled.csv of another "
        "run; --unlabeled_rule and --unlabeled_pairs mean nothing then.",
    )
    unlabeled_gaps: bool = _flag(
        True,
        "Cut unlabeled pairs also from the footage that no training label covers, not "
        "from segments without a label alone.",
    )
    modality: str = _flag(
        "rgb",
        "What the networks see. rgb: frames. flow: optical flow, which is read where "
        "--flow_root has it and computed elsewhere.",
        choices=("rgb", "flow"),
    )
    flow_method: str = _flag(
        "tvl1",
        "Computes flow. tvl1: as for I3D's published weights, most of a second per "
        "flow of 224 pixels; --cache=disk and train.prepare keep it. dis: a hundred "
        "times faster.",
        choices=("tvl1", "dis"),
    )
    flow_root: str | None = _flag(
        None,
        "Folder of stored flow: the images u and v of each video in a folder or tar of "
        "its name. By default <data_root>/flow where that exists.",
    )
    flow_frame_rate: float | None = _flag(
        None,
        "Stored flow images per second; by default one per frame (EPIC-KITCHENS: per "
        "two frames).",
        lower=1e-3,
    )
    num_frames: int = _flag(16, "Frames that a network sees of a clip.", lower=9)
    image_size: int | None = _start_flag(
        published=224,
        scratch=64,
        text="Side in pixels of the square that a network sees.",
        lower=16,
        upper=1024,
    )
    fit: str = _flag(
        "stretch",
        "How frames become squares. stretch: the whole frame, its sides scaled apart. "
        "crop: proportions kept, a square cut out.",
        choices=("crop", "stretch"),
    )
    short_clip: str = _flag(
        "resample",
        "Clips with fewer frames than --num_frames: resample in time, loop, repeat "
        "the last frame, or stop with an error.",
        choices=("resample", "loop", "pad_last", "error"),
    )
    cache: str | None = _flag(
        None,
        "Where decoded clips are kept. off decodes them anew each time. By default "
        "off with --dataset=epic_kitchens and thumos14, else memory.",
        choices=("memory", "disk", "off"),
    )
    cache_dir: str | None = _flag(
        None, "Folder of --cache=disk; by default <run_dir>/clips."
    )
    records: str | None = _flag(
        None,
        "Folder of clips that train.prepare wrote, local or s3://; neither annotations "
        "nor videos are read then.",
    )
    features: str | None = _flag(
        None,
        "Folder of stored features that train.prepare wrote, local or s3://; students "
        "are trained from them. Needs --layer and --views as they were stored.",
    )
    data_service: str | None = _flag(
        None,
        "Address of a tf.data service, such as grpc://host:5000, whose workers read "
        "--records and make the training batches.",
    )


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes to training clips; evaluation sees the centre, unchanged."""

    shared_draw: bool = _flag(
        True,
        "Draw crop, flip and colour once per pair; otherwise once per clip.",
    )
    views: int = _flag(
        0,
        "Augmented views of a pair, which its passes repeat in turn: these can be "
        "stored. 0 draws anew at each pass.",
        lower=0,
    )
    crop: bool = _flag(True, "Crop at random instead of at the centre.")
    flip: float = _flag(0.5, "Probability of a left-right flip.", lower=0.0, upper=1.0)
    brightness: float = _flag(
        0.0,
        "Largest change, as a fraction of white; try 0.1 where lighting varies.",
        lower=0.0,
        upper=1.0,
    )
    contrast: float = _flag(
        0.0,
        "Largest change of the contrast factor from 1; try 0.2.",
        lower=0.0,
        upper=1.0,
    )
    saturation: float = _flag(
        0.0,
        "Largest change of the saturation factor from 1; try 0.2.",
        lower=0.0,
        upper=1.0,
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """The networks of teacher and student."""

    backbone: str = _flag(
        "i3d",
        "Network of the student. tsn, tsm: ResNet-50 over segments, without and with "
        "the temporal shift; tsn_small, tsm_small: a small 2D network instead. "
        "r2plus1d: R(2+1)D-18; r2plus1d_attributes: and a frozen ImageNet network.",
        choices=BACKBONES,
    )
    teacher_backbone: str | None = _flag(
        None,
        "Network of the teacher; by default --backbone.",
        choices=BACKBONES,
    )
    width: float | None = _start_flag(
        published=1.0,
        scratch=0.25,
        text="Multiplies the number of filters of every layer.",
        lower=0.01,
        upper=4.0,
    )
    teacher_width: float | None = _flag(
        None,
        "The same of the teacher; by default --width, or 1 with --teacher_weights.",
        lower=0.01,
        upper=4.0,
    )
    weights: str | None = _flag(
        None,
        "Weights to start from; the classifier starts fresh. i3d: the published ones, "
        "as TF-Hub handle or directory, checkpoint prefix or Keras file. tsn, tsm: "
        "imagenet, or a file of them (.h5). r2plus1d: torchvision's (.pth). Each: a "
        "Keras file (.keras, .weights.h5).",
    )
    teacher_weights: str | None = _flag(
        None,
        "The same of the teacher; by default --weights where it is the same network.",
    )
    segments: int = _flag(
        8,
        "Frames that tsn and tsm look at, the middle ones of equal parts of a clip.",
        lower=1,
    )
    attribute_weights: str = _flag(
        "imagenet",
        "Weights of the ResNet-50 whose class scores r2plus1d_attributes sees: "
        "imagenet, a file of them (.h5), a Keras file; or random, of --width, to try "
        "things out.",
    )
    dropout: float = _flag(
        0.5,
        "Fraction of features dropped before the classifier.",
        lower=0.0,
        upper=0.99,
    )
    batch_norm_momentum: float | None = _start_flag(
        published=0.999,
        scratch=0.9,
        text="Decay of BatchNorm's moving averages; short runs do not outlast the "
        "start values of the published one.",
        lower=0.0,
        upper=0.9999,
    )
    freeze_batch_norm: bool = _flag(
        False, "Keep BatchNorm as the starting weights have it (small batches)."
    )


@dataclasses.dataclass(frozen=True)
class Distillation:
    """Which students are trained and what from."""

    students: tuple[str, ...] = _flag(
        ("attention",),
        "Students to train. labels: labels alone. pseudo_labels: and the teacher's "
        "predictions of unlabeled pairs. direct: and L_direct of the feature maps. "
        "attention: L_d (eq. 3) instead.",
        choices=("labels", "pseudo_labels", "direct", "attention"),
    )
    student_init: str = _flag(
        "teacher",
        "Where students start. teacher: from the trained teacher, which must be the "
        "same network. pretrained: from --weights, or the random weights that a "
        "teacher of the same network starts from. fresh: from other random weights.",
        choices=("teacher", "pretrained", "fresh"),
    )
    layer: str | None = _flag(
        None,
        "Students keep everything up to this layer as it starts, such as "
        "MaxPool3d_4a_3x3, and train what is behind it; what reaches it can be stored.",
    )
    feature_layer: str | None = _flag(
        None,
        "Layer whose feature maps are compared; by default the last before the head.",
    )
    teacher_feature_layer: str | None = _flag(
        None,
        "Its name in the teacher; by default the same in the same network, else the "
        "last before the head.",
    )
    feature_weight: float = _flag(
        1e-3,
        "λ of the feature loss; search it on a log scale from 1e-4.",
        lower=0.0,
    )
    direction: str = _flag(
        "symmetric",
        "Whose positions ask in L_d: both (eq. 3), the student's (eq. 4), the "
        "teacher's (eq. 5).",
        choices=("symmetric", "student_to_teacher", "teacher_to_student"),
    )
    alpha: float | None = _flag(
        None, "Sharpness of the attention; by default 1/sqrt(channels).", lower=1e-9
    )
    distance: str = _flag(
        "huber",
        "Squared or Huber distance of two readings, summed over channels.",
        choices=("squared", "huber"),
    )
    delta: float = _flag(1.0, "Where Huber turns from square to line.", lower=1e-9)
    tokens: str = _flag(
        "mean",
        "Mean or sum of the distances over the positions of a map; a weight means "
        "little without it.",
        choices=("mean", "sum"),
    )
    chunk_size: int | None = _flag(
        None, "Positions per block of L_d; by default as memory asks.", lower=1
    )
    temperature: float = _flag(1.0, "Softens pseudo-labels.", lower=1e-3)


@dataclasses.dataclass(frozen=True)
class Training:
    """The optimization of teacher and students."""

    batch_size: int = _flag(16, "Pairs per step.", lower=1)
    teacher_steps: int = _flag(2500, "Steps of the teacher.", lower=1)
    student_steps: int = _flag(1500, "Steps of each student.", lower=1)
    optimizer: str = _flag("adamw", "Optimizer.", choices=("adamw", "sgd"))
    teacher_learning_rate: float = _flag(
        1e-3, "Highest rate of the teacher.", lower=0.0
    )
    student_learning_rate: float = _flag(1e-3, "Highest rate of students.", lower=0.0)
    warmup_steps: int = _flag(
        50, "Steps of linear warm-up before the cosine decay to 0.", lower=0
    )
    momentum: float = _flag(0.9, "Momentum of SGD.", lower=0.0, upper=0.9999)
    weight_decay: float = _flag(
        0.01, "Decoupled weight decay; not on biases and BatchNorm.", lower=0.0
    )
    label_smoothing: float = _flag(
        0.0,
        "Smooths the labels of the teacher and of the student from labels alone.",
        lower=0.0,
        upper=0.9,
    )
    validate_every: int = _flag(
        250, "Steps between validations and checkpoints.", lower=1
    )


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What train.prepare writes; no part of a run."""

    output: str | None = _flag(
        None, "Folder of the prepared data, local or remote (s3://bucket/folder)."
    )
    kind: str = _flag(
        "clips",
        "clips: every clip of the run, as JPEG; with --modality=flow its flow, as PNG, "
        "which loses nothing. features: what reaches --layer (MaxPool3d_4a_3x3 by "
        "default) in the student, for --views augmented views of every training pair, "
        "and what the teacher says of them.",
        choices=("clips", "features"),
    )
    jpeg_quality: int = _flag(95, "Quality of stored frames.", lower=1, upper=100)
    precision: str = _flag(
        "float16", "Type of stored features.", choices=("float16", "float32")
    )
    shard_records: int = _flag(
        128, "Records in a file; a kill costs at most one file per core.", lower=1
    )
    verify: bool = _flag(
        False, "Compare what is there with its checksums; make anew what differs."
    )
    check: bool = _flag(
        False,
        "Write nothing but a report of the data set: videos, labels, leaks, counts and "
        "a contact sheet, into --output.",
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """All of a run."""

    run: Run
    data: Data
    augmentation: Augmentation
    network: Network
    distillation: Distillation
    training: Training


_GROUPS = {field.name: field.type for field in dataclasses.fields(Config)}
_RUN_GROUPS = tuple(_GROUPS.values())


def define_flags(values=flags.FLAGS, groups=_RUN_GROUPS):
    """Defines a flag for every field."""
    for group in groups:
        for field in dataclasses.fields(group):
            flag_fields.define(field, values)
    data_defaults.check(values)
    flags.register_validator(
        "run_dir",
        lambda path: path is None or "://" not in path,
        "must be a folder of this machine, where a state is replaced at once. Records, "
        "stored features (train.prepare --output) and exports (export.main --output) "
        "may be remote",
        flag_values=values,
    )


def from_flags(values=flags.FLAGS):
    """Returns the `Config` that the parsed flags describe."""
    return Config(**{name: read(group, values) for name, group in _GROUPS.items()})


def from_flagfile(path):
    """Returns the `Config` of a run's run.flags.

    Raises:
        ValueError: If there is none, or it has flags that this version does not know.
    """
    values = flags.FlagValues()
    define_flags(values)
    try:
        values(["", f"--flagfile={path}"])
    except (flags.Error, OSError) as error:
        raise ValueError(f"{path} is no flagfile of a run: {error}") from error
    return from_flags(values)


def read(group, values=flags.FLAGS):
    """Returns the dataclass of one group of parsed flags."""
    start = "scratch" if values["weights"].value is None else "published"

    def value_of(field):
        value = values[field.name].value
        if value is None:
            return field.metadata.get(start)
        if isinstance(value, list):
            return tuple(map(flag_fields.element_type(field), value))
        return value

    made = group(**{field.name: value_of(field) for field in dataclasses.fields(group)})
    return data_defaults.complete(made) if group is Data else made


def to_flagfile(config):
    """Returns the text of a flagfile that repeats the run."""
    return flagfile_of(as_flags(config))


def flagfile_of(values):
    """Returns the text of a flagfile with these values by name."""
    lines = []
    for name, value in values.items():
        if isinstance(value, bool):
            lines.append(f"--{name}" if value else f"--no{name}")
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            lines.append(f"--{name}={text}")
    return "\n".join(lines) + "\n"


def as_flags(config):
    """Returns the value of every flag, by name."""
    return {
        name: value
        for group in dataclasses.asdict(config).values()
        for name, value in group.items()
    }
