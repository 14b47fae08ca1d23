"""The flags of what networks see: videos, clips of them, and how they are changed."""

import dataclasses
from typing import Any, Literal

from train.flags.fields import flag as _flag
from train.flags.fields import late_flag as _late_flag
from train.flags.fields import path_flag as _path_flag
from train.flags.fields import start_flag as _start_flag


@dataclasses.dataclass(frozen=True)
class Data:
    """Which videos, and which clips of them."""

    dataset: str = _flag(
        "csv",
        "csv: your videos and a CSV. jhmdb, epic_kitchens, epic_kitchens_100, "
        "thumos14: J-HMDB, EPIC-KITCHENS-55 and -100, THUMOS14 in their official "
        "layouts. demo: videos that are generated into the run directory. features: "
        "a CSV, and features that another network extracted, for --backbone=temporal.",
        affects="pairs",
        choices=(
            "csv",
            "jhmdb",
            "epic_kitchens",
            "epic_kitchens_100",
            "thumos14",
            "demo",
            "features",
        ),
    )
    annotations: str | None = _path_flag(
        None,
        "CSV with the columns video,start,end,label,split (--dataset=csv, features).",
        affects="data_set",
    )
    video_root: str | None = _path_flag(
        None,
        "Folder that the CSV's video paths start from (--dataset=csv).",
        affects="data_set",
    )
    feature_root: str | None = _path_flag(
        None,
        "Features by the CSV's video (--dataset=features): a folder with <video>.npy, "
        "(time, channels) or (time, height, width, channels); an .npz with an array "
        "for each video, or with the arrays features, name and perhaps scale; or the "
        "folder of an LMDB with RULSTM's keys.",
        affects="data_set",
    )
    feature_rate: float | None = _flag(
        None,
        "Time steps of the features per second (--dataset=features); RULSTM's have 30.",
        affects="data_set",
        lower=1e-3,
    )
    data_root: str | None = _path_flag(
        None,
        "Folder of the release. jhmdb: Rename_Images or ReCompress_Videos, and splits. "
        "epic_kitchens, epic_kitchens_100: the CSV files or annotations, and the "
        "frames or videos in any folders. thumos14: "
        "annotations_val, annotations_test, video_info.json and the videos.",
        affects="data_set",
    )
    split: Literal[1, 2, 3] = _flag(
        1, "J-HMDB's split.", affects="pairs", lower=1, upper=3
    )
    epic_split: Literal["p01_p25", "rulstm"] = _flag(
        "p01_p25",
        "EPIC-KITCHENS-55's split. p01_p25: the paper's, participants P01-P25 train "
        "(23,191 segments), P26-P31 validate (5,281). rulstm: by lists of videos "
        "(23,493 and 4,979). Results on the two are not comparable.",
        affects="pairs",
        choices=("p01_p25", "rulstm"),
    )
    epic_target: Literal["verb", "noun", "action"] = _flag(
        "verb",
        "What a label of EPIC-KITCHENS is: a verb, a noun, or an action, which is a "
        "pair of both.",
        affects="pairs",
        choices=("verb", "noun", "action"),
    )
    media_frame_rate: float | None = _flag(
        None,
        "Frames per second of EPIC-KITCHENS' folders and tars of frames. By default as "
        "released: 60, and 50 of the videos that only EPIC-KITCHENS-100 has. Video "
        "files have frame rates of their own.",
        affects="pairs",
        lower=0.1,
    )
    demo_videos: int = _flag(160, "Generated videos.", affects="data_set", lower=3)
    demo_val_fraction: float = _flag(
        0.25,
        "Fraction of the generated videos that are evaluated and not trained on.",
        affects="data_set",
        lower=0.01,
        upper=0.9,
    )
    demo_seed: int = _flag(
        0,
        "Seed of the generated videos.",
        affects="data_set",
        lower=0,
    )
    demo_labeled_fraction: float = _flag(
        0.2,
        "Fraction of the generated training segments with a label.",
        affects="data_set",
        lower=0.01,
        upper=1.0,
    )
    demo_camera_drift: float = _flag(
        0.1,
        "How far the camera of generated videos may move off an action, in heights of "
        "the picture. With 0 it rests.",
        affects="data_set",
        lower=0.0,
        upper=1.0,
    )
    eval_part: str = _flag(
        "auto",
        "Part that is evaluated; auto takes val if it has labels, else test.",
        affects="pairs",
        choices=("auto", "val", "test"),
    )
    holdout: float | None = _flag(
        None,
        "Fraction of the labeled training videos that are held out of training, drawn "
        "under --label_seed; videos of one group stay together. They choose the "
        "student, and the weights of --keep=best and --early_stopping. Without it the "
        "val part chooses, if there is one.",
        affects="pairs",
        lower=1e-6,
        upper=0.9,
    )
    max_bad_videos: float = _flag(
        0.01,
        "Fraction of the videos that may be unreadable, and one always may: they are "
        "skipped. More of them stop the run.",
        affects="run",
        lower=0.0,
        upper=1.0,
    )
    labeled_fraction: float = _flag(
        1.0,
        "Fraction of the training segments whose label is used; the rest counts as "
        "unlabeled.",
        affects="pairs",
        lower=1e-6,
        upper=1.0,
    )
    label_seed: int = _flag(
        0,
        "Seed of the choices of --labeled_fraction and --holdout.",
        affects="pairs",
        lower=0,
    )
    lead_time_s: float = _flag(
        1.0,
        "Seconds from the end of the observed clip to the start of the action.",
        affects="pairs",
        lower=0.0,
    )
    frame_rate: float | None = _flag(
        None,
        "Frames per second at which --num_frames are taken of the observed clip, "
        "instead of --observed_s. By default 30 with EPIC-KITCHENS.",
        # Prepared clips compare --observed_s, which follows from it.
        affects="run",
        lower=0.1,
    )
    observed_s: float = _late_flag(
        "Length of the observed clip in seconds. By default --num_frames / "
        "--frame_rate if given, 1 with --dataset=thumos14, else 2.",
        affects="pairs",
        lower=0.01,
    )
    future_s: float = _late_flag(
        "Length of the future clip in seconds from the action's start; 0 is the whole "
        "action. By default --observed_s with EPIC-KITCHENS, else 0.",
        affects="pairs",
        lower=0.0,
    )
    include_action_segments: bool = _flag(
        False,
        "Train students also on the future clips of the labeled pairs, as if they had "
        "been observed (the paper's data augmentation).",
        affects="pairs",
    )
    observed_fraction: float | None = _flag(
        None,
        "Observe this first part of the action itself, instead of what comes before "
        "it (J-HMDB: 0.2); --lead_time_s and --observed_s mean nothing then.",
        affects="pairs",
        lower=0.01,
        upper=1.0,
    )
    unlabeled_pairs: int | None = _flag(
        None,
        "Number of unlabeled pairs, drawn under --label_seed; by default all of a "
        "regular grid. Windows of footage overlap if the number is more than fit.",
        affects="pairs",
        lower=0,
    )
    unlabeled_rule: str = _flag(
        "future_in_gap",
        "Which footage unlabeled pairs are cut from. gaps: both clips within one gap "
        "between labeled segments. future_in_gap: the future clip alone. anywhere: any "
        "position in a training video.",
        affects="pairs",
        choices=("gaps", "future_in_gap", "anywhere"),
    )
    unlabeled_list: str | None = _path_flag(
        None,
        "CSV of the unlabeled pairs to use, such as the pairs_unlabeled.csv of another "
        "run; --unlabeled_rule and --unlabeled_pairs mean nothing then.",
        affects="pairs",
    )
    unlabeled_gaps: bool = _flag(
        True,
        "Cut unlabeled pairs also from the footage that no training label covers, not "
        "from segments without a label alone.",
        affects="pairs",
    )
    modality: str = _flag(
        "rgb",
        "What the networks see. rgb: frames. flow: optical flow, which is read if "
        "--flow_root has it, and computed if not.",
        affects="clips",
        choices=("rgb", "flow"),
    )
    flow_method: str = _flag(
        "tvl1",
        "Computes flow. tvl1: as for I3D's published weights, most of a second per "
        "flow of 224 pixels; --cache=disk and train.prepare keep it. tvl1_graph: the "
        "same in TensorFlow, on a GPU if there is one. dis: a hundred times faster.",
        affects="clips",
        choices=("tvl1", "tvl1_graph", "dis"),
    )
    flow_root: str | None = _path_flag(
        None,
        "Folder of stored flow: the images u and v of each video in a folder or tar of "
        "its name. By default <data_root>/flow if that exists.",
        affects="data_set",
    )
    flow_frame_rate: float | None = _flag(
        None,
        "Stored flow images per second; by default one per frame (EPIC-KITCHENS: per "
        "two frames).",
        affects="data_set",
        lower=1e-3,
    )
    num_frames: int = _flag(
        16, "Frames that a network sees of a clip.", affects="clips", lower=9
    )
    image_size: int = _start_flag(
        published=224,
        scratch=64,
        text="Side in pixels of the square that a network sees.",
        affects="clips",
        lower=16,
        upper=1024,
    )
    fit: str = _flag(
        "stretch",
        "How frames become squares. stretch: the whole frame, its sides scaled apart. "
        "crop: proportions kept, a square cut out.",
        affects="clips",
        choices=("crop", "stretch"),
    )
    short_clip: str = _flag(
        "resample",
        "Clips with fewer frames than --num_frames: resample in time, loop, repeat "
        "the last frame, or stop with an error.",
        affects="clips",
        choices=("resample", "loop", "pad_last", "error"),
    )
    cache: str | None = _flag(
        None,
        "Where decoded clips are kept. off decodes them anew each time. By default "
        "off with EPIC-KITCHENS, THUMOS14 and features, else memory if it has room.",
        affects=None,
        choices=("memory", "disk", "off"),
    )
    cache_dir: str | None = _path_flag(
        None, "Folder of --cache=disk; by default <run_dir>/clips.", affects=None
    )
    records: str | None = _path_flag(
        None,
        "Folder of clips that train.prepare wrote, local or s3://; neither annotations "
        "nor videos are read then.",
        affects="run",
    )
    features: str | None = _path_flag(
        None,
        "Folder of stored features that train.prepare wrote, local or s3://; students "
        "are trained from them. Needs --stored_layer and --views as they were stored.",
        affects="run",
    )
    data_service: str | None = _flag(
        None,
        "Address of a tf.data service, such as grpc://host:5000, whose workers read "
        "--records and make the training batches.",
        affects="run",
    )

    def required(self, name: str) -> Any:
        """Returns the value of a flag that --dataset cannot do without.

        Raises:
            ValueError: If it was not given.
        """
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"--dataset={self.dataset} needs --{name}; see --help.")
        return value


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes to training clips, and the crops that evaluation sees."""

    same_augmentation: bool = _flag(
        False,
        "Crop, flip and change the colors of both clips of a pair alike; otherwise "
        "each clip by itself.",
        affects="views",
        former="shared_draw",
    )
    views: int = _flag(
        0,
        "Augmented views of a pair, which its passes repeat in turn: these can be "
        "stored. 0 draws anew at each pass.",
        affects="run",
        lower=0,
    )
    crop: bool = _flag(
        True, "Crop at random instead of at the center.", affects="views"
    )
    flip: float = _flag(
        0.5, "Probability of a left-right flip.", affects="views", lower=0.0, upper=1.0
    )
    mixup: float = _flag(
        0.0,
        "Share of each batch that is mixtures of two pairs. Students with a teacher "
        "learn its prediction of a mixture; other networks learn the mixture of both "
        "labels. With --dataset=csv and fewer than 600 labeled clips, the default is "
        "0.5.",
        affects="run",
        lower=0.0,
        upper=1.0,
    )
    test_crops: str = _flag(
        "ten",
        "Crops of a clip whose logits are averaged in evaluation, if training showed "
        "such crops. center: the central crop. flip: and its mirror image. ten: and "
        "the crops in the corners, each mirrored too. Results also hold the top-1 of "
        "the central crop, and validation while training uses that crop alone.",
        affects="run",
        choices=("center", "flip", "ten"),
        former="test_views",
        former_choices=(("one", "center"), ("mirrored", "flip")),
    )
    brightness: float = _flag(
        0.0,
        "Largest change, as a fraction of white; try 0.1 if lighting varies.",
        affects="views",
        lower=0.0,
        upper=1.0,
    )
    contrast: float = _flag(
        0.0,
        "Largest change of the contrast factor from 1; try 0.2.",
        affects="views",
        lower=0.0,
        upper=1.0,
    )
    saturation: float = _flag(
        0.0,
        "Largest change of the saturation factor from 1; try 0.2.",
        affects="views",
        lower=0.0,
        upper=1.0,
    )
