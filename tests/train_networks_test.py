"""Which networks the flags give to teacher and student, and what is refused early."""

import keras
import numpy as np
import pytest
from absl import flags

from kd_keras.distill import distiller
from kd_keras.models import backbones
from kd_keras.training import half_precision
from train import networks, teacher
from train.flags import config as config_lib
from train.flags import learning as learning_flags

TINY = (
    "--run_dir=unused",
    "--num_frames=9",
    "--image_size=16",
    "--width=0.1",
    "--segments=3",
    "--attribute_weights=random",
)


def _config(*arguments):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", *TINY, *arguments])
    return config_lib.from_flags(values)


def test_the_flags_know_every_backbone():
    assert tuple(backbones.BACKBONES) == learning_flags.BACKBONES


def test_the_flag_has_the_gradient_ratio_of_the_library():
    ratio = _config().distillation.feature_gradient_ratio
    assert ratio == distiller.DEFAULT_GRADIENT_RATIO


def test_the_teacher_is_like_the_student_unless_it_has_flags():
    config = _config("--backbone=tsn_small", "--weights=a.keras")
    student = networks.Architecture("tsn_small", 0.1, "a.keras")
    assert networks.student_architecture(config) == student
    assert networks.teacher_architecture(config) == student
    for arguments, expected in (
        (["--teacher_backbone=i3d"], ("i3d", 0.1, None)),
        (["--teacher_width=0.2"], ("tsn_small", 0.2, None)),
        (["--teacher_weights=b.keras"], ("tsn_small", 1.0, "b.keras")),
        (
            ["--teacher_backbone=i3d", "--teacher_weights=b.keras"],
            ("i3d", 1.0, "b.keras"),
        ),
    ):
        config = _config("--backbone=tsn_small", "--weights=a.keras", *arguments)
        found = networks.teacher_architecture(config)
        assert found == networks.Architecture(*expected)


def test_networks_start_from_the_weights_of_their_flags(tmp_path):
    stored = networks.build_student(_config("--backbone=tsm_small", "--seed=5"), 4)
    path = tmp_path / "stored.keras"
    stored.save(path)
    config = _config(
        "--backbone=tsm_small",
        "--teacher_backbone=tsn_small",
        f"--teacher_weights={path}",
        "--teacher_width=0.1",
    )
    teacher, student = (
        build(config, 7) for build in (networks.build_teacher, networks.build_student)
    )
    assert (teacher.name, student.name) == ("tsn_small", "tsm_small")
    kernels = [
        model.get_layer("conv3_block1_1_conv").get_weights()[0]
        for model in (stored, teacher, student)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_each_network_is_compared_at_its_own_deepest_map_of_enough_tokens():
    config = _config("--backbone=tsm_small", "--teacher_backbone=i3d")
    student, teacher = (
        networks.build_student(config, 3),
        networks.build_teacher(config, 3),
    )

    def layers(config, teacher):
        return (
            networks.student_feature_layers(config, student),
            networks.teacher_feature_layers(config, student, teacher),
        )

    # 3 segments of 4 x 4, and 5 frames of 2 x 2 where no map of I3D has more.
    assert layers(config, teacher) == (("conv3_block1_out",), ("Mixed_3c",))
    assert layers(config, student) == (("conv3_block1_out",),) * 2
    config = _config("--feature_layer=conv4_block1_out,conv5_block1_out")
    several = ("conv4_block1_out", "conv5_block1_out")
    assert layers(config, teacher) == (several, ("Mixed_3c",))
    assert layers(config, student) == (several, several)
    config = _config("--teacher_feature_layer=Mixed_4f")
    assert layers(config, teacher) == (("conv3_block1_out",), ("Mixed_4f",))
    # What is stored reaches the layer; the map lies behind it.
    config = _config("--features=there", "--width=0.1")
    assert networks.student_feature_layers(config, teacher) == ("Mixed_4f",)
    config = _config("--stored_layer=Mixed_4f")
    assert networks.student_feature_layers(config, teacher) == ("Mixed_5c",)
    teacher.name = "somebodys"
    with pytest.raises(
        ValueError, match="'somebodys', is unknown .*--teacher_feature_layer"
    ):
        layers(_config(), teacher)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--backbone=tsn_small", "--teacher_backbone=r2plus1d"],
            "student is tsn_small with .*teacher r2plus1d.*pretrained or fresh",
        ),
        (
            ["--backbone=tsn_small", "--teacher_width=0.2"],
            "--student_init=teacher copies .* must be the same",
        ),
        (
            ["--backbone=tsn_small", "--feature_layer=Mixed_5c"],
            "--feature_layer: tsn_small has no layer 'Mixed_5c'. Choose one of: clip",
        ),
        (
            ["--backbone=tsn_small", "--teacher_feature_layer=conv9"],
            "--teacher_feature_layer: tsn_small has no layer 'conv9'",
        ),
        (
            ["--backbone=tsn_small", "--teacher_feature_layer=conv1_conv,conv1_relu"],
            "--feature_layer names 1 layers and --teacher_feature_layer 2",
        ),
        (
            ["--backbone=tsn_small", "--feature_layer=Logits"],
            "--feature_layer: Logits of tsn_small has no positions, only a vector",
        ),
        (
            ["--backbone=tsn_small", "--freeze_until=conv4_block1_out"],
            "All weights of tsn_small up to conv3_block1_out are frozen",
        ),
        (
            [
                *("--backbone=tsn_small", "--stored_layer=conv4_block1_out"),
                *("--students=labels,direct", "--feature_layer=conv3_block1_out"),
            ],
            "up to conv3_block1_out are frozen, and a feature loss there teaches",
        ),
        (["--backbone=tsn_small", "--segments=10"], "segments must be from 1 to"),
        (["--backbone=tsn_small", "--weights=gone.keras"], "Cannot read 'gone.keras'"),
    ],
)
def test_what_would_stop_the_students_stops_before_the_teacher(arguments, message):
    with pytest.raises(ValueError, match=message):
        networks.check_networks(_config(*arguments), 3)


def test_other_networks_pass_where_the_student_does_not_start_from_the_teacher():
    arguments = ("--backbone=tsn_small", "--teacher_backbone=tsm_small")
    for init in ("pretrained", "fresh"):
        networks.check_networks(
            _config(*arguments, "--teacher_width=0.2", f"--student_init={init}"), 3
        )
    # The same weights in another order of time.
    networks.check_networks(_config(*arguments), 3)


def test_frozen_layers_pass_where_no_maps_are_compared():
    networks.check_networks(
        _config(
            *("--backbone=tsn_small", "--freeze_until=conv4_block1_out"),
            "--students=no_teacher,labels,pseudo_labels",
        ),
        3,
    )


def test_a_fresh_student_starts_elsewhere_with_the_largest_seed_too():
    config = _config(
        "--backbone=tsn_small", "--student_init=fresh", f"--seed={2**32 - 1}"
    )
    teacher = networks.build_teacher(config, 3)
    starts = [
        model.get_layer("conv1_conv").get_weights()[0]
        for model in (teacher, networks.start_student(config, teacher))
    ]
    assert not np.array_equal(*starts)


def test_random_attributes_are_as_wide_as_the_run():
    model = networks.build_student(_config("--backbone=r2plus1d_attributes"), 3)
    attributes = model.get_layer("attributes")
    assert attributes.get_layer("conv1_conv").filters == 6
    assert model.get_layer("Logits").kernel.shape == (51 + 1000, 3)


def test_everything_up_to_a_layer_stays_as_it_starts():
    network = networks.build_student(
        _config("--backbone=tsn_small", "--freeze_until=conv3_block1_out"), 3
    )
    names = [layer.name for layer in network.layers]
    last = names.index("conv3_block1_out")
    for layer in network.layers[: last + 1]:
        assert not layer.trainable_weights, layer.name
    trained = {layer.name for layer in network.layers if layer.trainable_weights}
    assert {"conv4_block1_1_conv", "Logits_segments"} <= trained
    with pytest.raises(ValueError, match="--freeze_until: tsn_small has no layer 'x'"):
        networks.check_networks(_config("--backbone=tsn_small", "--freeze_until=x"), 3)


def test_a_student_starts_as_its_flag_says():
    teacher = networks.build_teacher(_config("--seed=3"), 4)
    for weight in teacher.trainable_variables:
        weight.assign(weight + 1)
    starts = {
        init: networks.start_student(
            _config("--seed=3", f"--student_init={init}"), teacher
        )
        for init in ("teacher", "fresh", "pretrained")
    }
    for found, expected in zip(
        starts["teacher"].get_weights(), teacher.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    kernels = {
        init: student.trainable_weights[0].numpy() for init, student in starts.items()
    }
    # The teacher had this start before it learned; `fresh` has another one.
    np.testing.assert_allclose(kernels["pretrained"] + 1, kernels["teacher"], rtol=1e-5)
    assert not np.allclose(kernels["fresh"], kernels["pretrained"])
    assert all(student.trainable_weights for student in starts.values())


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        ("i3d", "MaxPool3d_4a_3x3"),
        ("tsm_small", "conv3_block1_out"),
        ("tsm_lite", "block5c_add"),
        ("tsn_lite", "block6a_expand_activation"),
        ("r2plus1d", "layer2_1"),
        # The scores of the frozen network pass beside the map.
        ("r2plus1d_attributes", "layer3_0"),
    ],
)
def test_a_stem_and_its_tail_are_the_whole_network(backbone, layer):
    config = _config(
        *(f"--backbone={backbone}", f"--stored_layer={layer}", "--dropout=0"),
        "--student_init=fresh",
    )
    whole = networks.start_student(config, networks.build_teacher(config, 4))
    moved = np.random.default_rng(0)
    for variable in whole.variables:
        if variable.name == "moving_mean":
            # Below 0: ReLUs let something through.
            variable.assign(moved.uniform(-0.5, 0, variable.shape))
        if variable.name == "moving_variance" and "lite" in backbone:
            # As small as the maps, or nothing of the clip would be left at the end.
            variable.assign(variable * 0.05)
    stem, tail = networks.stem(whole, layer), networks.tail(whole, layer)
    assert not stem.trainable_weights and tail.trainable_weights
    assert tail.name == whole.name and tail.input.dtype == "float32"
    clips = moved.uniform(-1, 1, (2, 9, 16, 16, 3)).astype("float32")
    expected = np.array(whole(clips))
    assert not np.allclose(expected[0], expected[1])
    np.testing.assert_allclose(tail(stem(clips)), expected, rtol=1e-4, atol=1e-5)
    # What the tail learns is its own until it is copied.
    kernel = tail.trainable_weights[0]
    kernel.assign(kernel + 1)
    np.testing.assert_array_equal(whole(clips), expected)
    compared = networks.student_feature_layers(config, whole)
    assert {*compared} < {layer.name for layer in tail.layers}
    head = next(each for each in whole.layers[::-1] if each.weights)
    head.trainable = False
    assert not networks.tail(whole, layer).get_layer(head.name).trainable


def test_only_a_layer_that_is_all_that_passes_can_be_stored():
    network = networks.build_student(_config("--backbone=tsm_lite"), 3)
    for beside in ("block2b_activation", "top_bn", "stem_conv", "Logits", "nowhere"):
        with pytest.raises(
            ValueError, match=f"Those of tsm_lite are .*block5c_add.* Got {beside}"
        ):
            networks.stem(network, beside)


def test_each_backbone_has_a_layer_that_is_stored_by_default():
    for name in ("i3d", "tsn", "tsm_lite", "r2plus1d"):
        config = _config(f"--backbone={name}", "--width=0.03")
        network = networks.build_student(config, 3)
        assert networks.stem(network, networks.stored_layer(config)).layers


def test_every_network_keeps_faulty_layers_in_float32(monkeypatch, tmp_path, capsys):
    def fault(convolution):
        deep = len(convolution.shape) == 5 and convolution.shape[1] == 2
        return "its output is wrong" if deep and convolution.kernel[0] == 3 else None

    def faulty(model):
        half = [layer for layer in model.layers if hasattr(layer, "kernel_size")]
        wrong = {
            x.name for x in half if x.input.shape[1] == 2 and x.kernel_size[0] == 3
        }
        kept = {x.name for x in half if x.compute_dtype == "float32"}
        # The head is, anyway.
        return wrong, {name for name in kept if not name.startswith("Logits")}

    monkeypatch.setattr(half_precision, "fault", fault)
    before = keras.config.dtype_policy()
    config = _config("--dtype_policy=mixed_bfloat16", "--width=0.03")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        networks._warn_once.cache_clear()
        student = networks.build_student(config, 2)
        wrong, kept = faulty(student)
        assert len(wrong) == 4 and kept == wrong
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("Warning: 4 layers of i3d compute in float32 (Mixed_5b_")
        assert "its output is wrong of a 3x3x3 convolution over 2 frames" in line
        assert "TF_ENABLE_ONEDNN_OPTS=0" in line

        # The same decision each time, said once.
        again = networks.build_teacher(config, 2)
        tail = networks.tail(student, "MaxPool3d_4a_3x3")
        assert faulty(again) == faulty(tail) == (wrong, wrong)

        # One that was trained on another machine.
        monkeypatch.setattr(half_precision, "fault", lambda _: None)
        path = tmp_path / "teacher.keras"
        networks.build_teacher(config, 2).save(path)
        monkeypatch.setattr(half_precision, "fault", fault)
        config = _config(f"--teacher={path}")
        assert faulty(teacher.load_teacher(config, ("a", "b"))) == (wrong, wrong)
        assert not capsys.readouterr().err
    finally:
        keras.config.set_dtype_policy(before)
