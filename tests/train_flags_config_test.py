"""Flags become dataclasses and flagfiles, and come back."""

import dataclasses
import pathlib

import pytest
from absl import flags

from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.format import ClipFormat
from train.flags import config as config_lib
from train.flags import fields as flag_fields


def _parse(*arguments):
    values = _defined()
    values(["train.main", *arguments])
    return config_lib.from_flags(values)


def _defined():
    values = flags.FlagValues()
    config_lib.define_flags(values)
    return values


def test_defaults_follow_the_start_of_the_networks():
    scratch, published = _parse(), _parse("--weights=somewhere", "--width=0.5")
    assert (scratch.data.image_size, scratch.network.width) == (64, 0.25)
    assert (published.data.image_size, published.network.width) == (224, 0.5)
    assert scratch.network.batch_norm_momentum == 0.9
    assert published.network.batch_norm_momentum == 0.999


def test_a_flagfile_repeats_the_run(tmp_path):
    config = _parse(
        "--run_dir=a b",
        "--students=labels,direct",
        "--deterministic",
        "--nocrop",
        "--future_s=0.3",
        "--alpha=2",
    )
    path = tmp_path / "run.flags"
    path.write_text(config_lib.to_flagfile(config))
    assert _parse(f"--flagfile={path}") == config
    assert config.data.future_s == 0.3
    assert config.distillation.students == ("labels", "direct")


def test_flagfiles_nest_and_later_flags_win(tmp_path):
    (tmp_path / "inner.flags").write_text("--seed=3\n--num_frames=9\n")
    outer = tmp_path / "outer.flags"
    outer.write_text(
        f"# Outer\n--flagfile={tmp_path / 'inner.flags'}\n--num_frames=12\n"
    )
    config = _parse(f"--flagfile={outer}")
    assert (config.run.seed, config.data.num_frames) == (3, 12)


@pytest.mark.parametrize(
    "argument",
    [
        "--lead_time_s=-1",
        "--seed=4294967296",
        "--students=labels,direct,labels",
        "--num_frames=8",
        "--split=4",
        "--students=labels,magic",
        "--students=",
        "--labeled_fraction=1.5",
        "--task=dance",
    ],
)
def test_values_out_of_range_are_refused_by_name(argument):
    name = argument.removeprefix("--").split("=")[0]
    with pytest.raises(flags.IllegalFlagValueError, match=name):
        _parse(argument)


def test_every_flag_says_what_it_is_for():
    for group in dataclasses.fields(config_lib.Config):
        for field in dataclasses.fields(group.type):
            assert field.metadata["help"].endswith("."), field.name


def test_every_flag_declares_what_it_affects():
    for define in (
        lambda: flag_fields.flag(1, "So many."),
        lambda: flag_fields.path_flag(None, "A file."),
        lambda: flag_fields.start_flag(1, 2, "So many.", lower=0, upper=9),
        lambda: flag_fields.number_or_word_flag("auto", "auto", "So many.", lower=0),
    ):
        with pytest.raises(TypeError, match="'affects'"):
            define()
    with pytest.raises(ValueError, match="affects must be of .* Got 'clip'"):
        flag_fields.flag(1, "So many.", affects="clip")
    with pytest.raises(ValueError, match=r"Got \('clips', 'view'\)"):
        flag_fields.flag(1, "So many.", affects=("clips", "view"))


def test_what_runs_and_prepared_data_compare_stays_what_it_was():
    def declared(what, *groups):
        return set(flag_fields.affecting(what, *groups))

    config = _parse()
    groups = tuple(vars(config).values())
    checkpoints = {f"checkpoint_every_{unit}" for unit in ("steps", "minutes")}
    free = {"run_dir", "task", "export", "profile", "keep_checkpoints", *checkpoints}
    free |= {"supervision_levels", "cache", "cache_dir"}
    assert config_lib.FREE == declared(None, *groups) == free
    chosen = "dataset split eval_part holdout labeled_fraction label_seed lead_time_s"
    cut = "observed_s future_s observed_fraction epic_split epic_target"
    more = "media_frame_rate include_action_segments"
    unlabeled = {f"unlabeled_{name}" for name in ("pairs", "gaps", "rule", "list")}
    expected = {*f"{chosen} {cut} {more}".split(), *unlabeled}
    assert config.affecting("pairs").keys() == expected
    assert config.affecting("pairs")["lead_time_s"] == config.data.lead_time_s
    networks = {"dtype_policy", "alpha", "stored_layer", "teacher_feature_layer"}
    assert config.affecting("features").keys() == networks
    # The library's dataclasses hold the other two.
    encoded = {"flow_encoding", "resize_ratio"}
    names = {field.name for field in dataclasses.fields(ClipFormat)} - encoded
    assert declared("clips", *groups) == declared("clips", config.data) == names
    names = {field.name for field in dataclasses.fields(Augmentation)}
    assert config.affecting("views").keys() == {"same_augmentation", *names}


def test_the_observed_clip_has_a_length_of_its_own_in_each_data_set():
    def observed_s(*arguments):
        data = _parse(*arguments).data
        return data.observed_s, data.future_s, data.frame_rate

    assert observed_s() == (2.0, 0.0, None)
    assert observed_s("--dataset=thumos14") == (1.0, 0.0, None)
    epic = "--dataset=epic_kitchens"
    assert observed_s(epic, "--num_frames=32") == (32 / 30, 32 / 30, 30.0)
    assert observed_s(epic, "--observed_s=3") == (3.0, 3.0, None)
    assert observed_s(epic, "--frame_rate=60") == (16 / 60, 16 / 60, 60.0)
    assert observed_s(epic, "--future_s=0") == (16 / 30, 0.0, 30.0)
    assert observed_s("--frame_rate=8") == (2.0, 0.0, 8.0)


def test_help_names_the_data_sets_whose_clips_are_not_kept():
    names = {
        "--dataset=epic_kitchens": "EPIC-KITCHENS",
        "--dataset=thumos14": "THUMOS14",
        "--dataset=features": "features",
    }
    text = _defined()["cache"].help
    for flag, name in names.items():
        backbone = ["--backbone=temporal"] if name == "features" else []
        assert _parse(flag, *backbone).data.cache == "off"
        assert name in text
    # Memory, if it has room.
    assert _parse().data.cache is None


def test_a_flagfile_repeats_the_defaults_of_a_data_set(tmp_path):
    config = _parse("--dataset=epic_kitchens", "--num_frames=31")
    path = tmp_path / "run.flags"
    path.write_text(config_lib.to_flagfile(config))
    assert _parse(f"--flagfile={path}") == config


@pytest.mark.parametrize("name", ["epic_kitchens", "thumos14"])
def test_flagfiles_of_the_paper_take_their_paths_on_the_command_line(name):
    path = pathlib.Path(__file__).parents[1] / f"configs/{name}.flags"
    config = _parse(
        f"--flagfile={path}", "--data_root=a b", "--weights=I3D", "--run_dir=run"
    )
    data, network = config.data, config.network
    assert (data.dataset, data.data_root, data.lead_time_s) == (name, "a b", 1.0)
    # Those of the published weights.
    assert (data.image_size, network.width, network.freeze_batch_norm) == (224, 1, True)
    if name == "epic_kitchens":
        assert (data.num_frames, data.observed_s) == (32, 32 / 30)
        assert (data.unlabeled_rule, data.unlabeled_pairs) == ("gaps", 26_391)
        assert config.distillation.stored_layer and config.augmentation.views
    else:
        assert (data.observed_s, data.labeled_fraction) == (1.0, 0.5)
        assert not data.unlabeled_gaps


def test_lengths_that_contradict_each_other_are_refused():
    _parse("--frame_rate=8", "--observed_s=2", "--num_frames=16")
    with pytest.raises(flags.IllegalFlagValueError, match="give one of the two"):
        _parse("--frame_rate=8", "--observed_s=1", "--num_frames=16")


def test_a_batch_has_room_for_unlabeled_pairs():
    _parse("--labeled_per_batch=7", "--batch_size=8")
    for wanted in (8, 9):
        with pytest.raises(flags.IllegalFlagValueError, match="less than --batch_size"):
            _parse(f"--labeled_per_batch={wanted}", "--batch_size=8")


@pytest.mark.parametrize("kept", ["--features=folder", "--teacher_cache=memory"])
def test_what_is_kept_of_the_teacher_knows_no_mixtures(kept):
    _parse(kept, "--mixup=0")
    with pytest.raises(flags.IllegalFlagValueError, match="--mixup makes new clips"):
        _parse(kept, "--mixup=0.5")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--test_views=one", "--test_crops=center"),
        ("--test_views=mirrored", "--test_crops=flip"),
        ("--test_views=ten", "--test_crops=ten"),
        ("--layer=Mixed_4f", "--stored_layer=Mixed_4f"),
        ("--shared_draw", "--same_augmentation"),
        ("--noshared_draw", "--nosame_augmentation"),
    ],
)
def test_the_former_name_of_a_flag_works_and_says_the_new_one(
    old, new, tmp_path, capsys
):
    assert _parse(old) == _parse(new)
    name = old.removeprefix("--").removeprefix("no").partition("=")[0]
    assert capsys.readouterr().err == (
        f"--{name} is now called --{new.removeprefix('--no').lstrip('-').split('=')[0]}"
        f": write {new}. The old name goes with the next release.\n"
    )
    path = tmp_path / "old.flags"
    path.write_text(f"{old}\n")
    assert _parse(f"--flagfile={path}") == _parse(new)


def test_the_last_of_both_names_wins():
    assert _parse("--layer=a", "--stored_layer=b") == _parse("--stored_layer=b")
    assert _parse("--stored_layer=b", "--layer=a") == _parse("--stored_layer=a")


def test_a_wrong_value_of_a_former_name_is_refused():
    with pytest.raises(flags.IllegalFlagValueError, match="center|flip|ten"):
        _parse("--test_views=two")


def test_help_and_flagfiles_know_the_new_names_alone():
    values = flags.FlagValues()
    config_lib.define_flags(values)
    text = "".join(map(values.module_help, config_lib.GROUP_NAMES))
    assert "--test_crops" in text and "--[no]same_augmentation" in text
    assert not [n for n in ("test_views", "shared_draw", "--layer") if n in text]
    written = config_lib.to_flagfile(_parse("--layer=Mixed_4f", "--test_views=one"))
    assert "--stored_layer=Mixed_4f\n" in written and "test_views" not in written
