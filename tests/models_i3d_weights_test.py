"""I3D weights from checkpoints as published and from Keras files."""

import re

import keras
import numpy as np
import pytest

import kd_keras
from tests import published_i3d

pytest.importorskip("tensorflow", reason="writes checkpoints")

CLIP = np.random.default_rng(0).uniform(-1, 1, (1, 9, 32, 32, 3)).astype("f4")


@pytest.fixture(scope="module", params=list(published_i3d.STYLES))
def checkpoint(request, tmp_path_factory):
    """Of each name style, an eighth as wide: its prefix, variables and description."""
    style = published_i3d.STYLES[request.param]
    shapes = published_i3d.variable_shapes(**style, divisor=8)
    variables = published_i3d.random_variables(shapes)
    path = tmp_path_factory.mktemp(request.param) / "model.ckpt"
    return published_i3d.write_checkpoint(path, variables), variables, style


@pytest.fixture(scope="module")
def rgb(tmp_path_factory):
    """An RGB checkpoint an eighth as wide: its prefix and variables."""
    shapes = published_i3d.variable_shapes(**published_i3d.STYLES["rgb"], divisor=8)
    variables = published_i3d.random_variables(shapes)
    path = tmp_path_factory.mktemp("rgb") / "model.ckpt"
    return published_i3d.write_checkpoint(path, variables), variables


@pytest.fixture(scope="module")
def trained(rgb):
    return kd_keras.I3D(width=0.125, weights=rgb[0])


@pytest.mark.parametrize("style", ["rgb", "flow", "kin600"])
def test_the_styles_below_are_the_published_ones(style):
    shapes = published_i3d.variable_shapes(**published_i3d.STYLES[style])
    assert shapes == published_i3d.checkpoint_shapes(style)


def test_reads_every_published_name_style(checkpoint):
    source, variables, style = checkpoint
    channels = style.get("channels", 3)
    model = kd_keras.I3D(
        style.get("num_classes", 400), width=0.125, channels=channels, weights=source
    )
    clip = CLIP[..., :channels]
    expected = published_i3d.endpoints(variables, clip, style["prefix"])["Logits"]
    np.testing.assert_allclose(model(clip), expected, atol=1e-4)


def test_reads_the_published_network_at_full_width(tmp_path):
    shapes = published_i3d.checkpoint_shapes("kin600")
    variables = published_i3d.random_variables(shapes)
    source = published_i3d.write_checkpoint(tmp_path / "model.ckpt", variables)
    model = kd_keras.I3D(num_classes=600)
    kd_keras.load_i3d_weights(model, source)
    expected = published_i3d.endpoints(variables, CLIP)["Logits"]
    np.testing.assert_allclose(model(CLIP), expected, atol=1e-4)


def test_reads_the_folder_of_a_hub_module(rgb, tmp_path):
    folder = tmp_path / "module"
    published_i3d.write_checkpoint(folder / "variables" / "variables", rgb[1])
    model = kd_keras.I3D(width=0.125)
    kd_keras.load_i3d_weights(model, folder)
    kernel = rgb[1]["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w"]
    np.testing.assert_array_equal(
        model.get_layer("Conv3d_1a_7x7_conv_3d").kernel, kernel
    )


def test_resolves_a_hub_handle(rgb, trained, tmp_path, monkeypatch):
    import tensorflow_hub as hub

    published_i3d.write_checkpoint(tmp_path / "variables" / "variables", rgb[1])
    asked = []
    monkeypatch.setattr(hub, "resolve", lambda h: asked.append(h) or str(tmp_path))
    model = kd_keras.I3D(width=0.125)
    kd_keras.load_i3d_weights(model, "https://tfhub.dev/deepmind/i3d-kinetics-400/1")
    assert asked == ["https://tfhub.dev/deepmind/i3d-kinetics-400/1"]
    _assert_same_weights(model, trained)


def test_reads_what_tensorflow_takes_for_a_pattern(rgb, trained, tmp_path):
    folder = tmp_path / "lr[1e-3] *?"
    for prefix, source in (
        (folder / "rgb[2]\\", folder / "rgb[2]\\"),
        (folder / "hub[1]" / "variables" / "variables", folder / "hub[1]"),
        (folder / "many" / "model.ckpt", folder / "many"),
    ):
        published_i3d.write_checkpoint(prefix, rgb[1])
        if source.name == "many":
            (source / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"')
        model = kd_keras.I3D(width=0.125, weights=source)
        _assert_same_weights(model, trained)


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_reads_keras_files(trained, tmp_path, ending):
    path = tmp_path / f"trained{ending}"
    (trained.save if ending == ".keras" else trained.save_weights)(path)
    model = kd_keras.I3D(width=0.125, weights=path)
    _assert_same_weights(model, trained)


@pytest.mark.parametrize("kind", ["checkpoint", "keras"])
def test_leaves_the_classifier_for_other_classes(rgb, trained, tmp_path, kind):
    source = rgb[0]
    if kind == "keras":
        source = tmp_path / "trained.keras"
        trained.save(source)
    model = kd_keras.I3D(21, width=0.125)
    head = model.get_layer("Logits_Conv3d_0c_1x1_conv_3d")
    before = head.get_weights()
    kd_keras.load_i3d_weights(model, source, include_head=False)
    _assert_same_weights(model, trained, but=head.name)
    for old, new in zip(before, head.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match=r"400.*21.*include_head=False"):
        kd_keras.load_i3d_weights(model, source)


def test_fills_a_tail_from_a_whole_network_and_not_the_reverse(rgb, trained, tmp_path):
    trained.save(tmp_path / "trained.keras")
    for source in (rgb[0], tmp_path / "trained.keras"):
        tail = kd_keras.I3D(width=0.125, start="Mixed_5b", weights=source)
        _assert_same_weights(tail, trained)
    tail.save(tmp_path / "tail.keras")
    with pytest.raises(ValueError, match=r"tail\.keras lacks Conv3d_1a_7x7/conv_3d/w"):
        kd_keras.I3D(width=0.125, weights=tmp_path / "tail.keras")


def test_trained_files_with_optimizer_and_dropout(trained, tmp_path):
    model = kd_keras.I3D(2, width=0.125, start="Mixed_5c", dropout=0.5)
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((1, 2, 1, 1, 128)), np.ones((1, 2)))
    model.save(tmp_path / "tail.keras")
    other = kd_keras.I3D(2, width=0.125, start="Mixed_5c")
    kd_keras.load_i3d_weights(other, tmp_path / "tail.keras")
    _assert_same_weights(other, model)


@pytest.mark.parametrize(
    "lost",
    [
        "Conv3d_1a_7x7/conv_3d/w",
        "Mixed_4c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean",
        "Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w",
        "Logits/Conv3d_0c_1x1/conv_3d/b",
    ],
)
def test_names_what_is_missing_and_changes_nothing(rgb, tmp_path, lost):
    lost = f"RGB/inception_i3d/{lost}"
    variables = {name: value for name, value in rgb[1].items() if name != lost}
    source = published_i3d.write_checkpoint(tmp_path / "model.ckpt", variables)
    model = kd_keras.I3D(width=0.125)
    before = model.get_weights()
    with pytest.raises(ValueError, match=rf"lacks {lost}, for which.*229 variables"):
        kd_keras.load_i3d_weights(model, source)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_names_the_variable_of_another_shape_and_changes_nothing(rgb, tmp_path):
    name = "RGB/inception_i3d/Mixed_5c/Branch_3/Conv3d_0b_1x1/batch_norm/beta"
    variables = {**rgb[1], name: np.zeros((1, 1, 1, 17), "f4")}
    source = published_i3d.write_checkpoint(tmp_path / "model.ckpt", variables)
    model = kd_keras.I3D(width=0.125)
    before = model.get_weights()
    message = re.escape(f"{name} has the shape (1, 1, 1, 17) in {source}, but (16,)")
    with pytest.raises(ValueError, match=message):
        kd_keras.load_i3d_weights(model, source)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_shapes_suggest_the_fix(rgb):
    with pytest.raises(ValueError, match="build the model with channels=3"):
        kd_keras.I3D(width=0.125, channels=2, weights=rgb[0])
    with pytest.raises(ValueError, match="build the model with the same width"):
        kd_keras.I3D(width=0.25, weights=rgb[0])


def test_finds_its_stream_in_a_checkpoint_of_both(rgb, trained, tmp_path):
    shapes = published_i3d.variable_shapes(**published_i3d.STYLES["flow"], divisor=8)
    flow = published_i3d.random_variables(shapes, seed=1)
    both = published_i3d.write_checkpoint(tmp_path / "both", {**flow, **rgb[1]})
    _assert_same_weights(kd_keras.I3D(width=0.125, weights=both), trained)
    model = kd_keras.I3D(width=0.125, channels=2, weights=both)
    kernel = flow["Flow/inception_i3d/Mixed_3c/Branch_0/Conv3d_0a_1x1/conv_3d/w"]
    np.testing.assert_array_equal(
        model.get_layer("Mixed_3c_Branch_0_Conv3d_0a_1x1_conv_3d").kernel, kernel
    )
    with pytest.raises(ValueError, match=r"several I3D networks, under Flow.*, RGB"):
        kd_keras.I3D(width=0.125, start="Mixed_5b", weights=both)


@pytest.mark.parametrize("name", ["nothing", "nothing.keras", "nothing.weights.h5"])
def test_no_such_source_says_what_is_accepted(tmp_path, name):
    model = kd_keras.I3D(width=0.01, start="Mixed_5c")
    with pytest.raises(
        ValueError, match=rf"{name}'.*TF-Hub handle.*checkpoint prefix.*\.weights\.h5"
    ):
        kd_keras.load_i3d_weights(model, tmp_path / name)


def test_a_folder_or_file_of_something_else(tmp_path):
    model = kd_keras.I3D(width=0.01, start="Mixed_5c")
    with pytest.raises(ValueError, match=r"neither variables/variables\.index nor"):
        kd_keras.load_i3d_weights(model, tmp_path)
    dense = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    dense.save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="holds no layer of I3D"):
        kd_keras.load_i3d_weights(model, tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="has weights but is none of I3D's"):
        kd_keras.load_i3d_weights(dense, tmp_path / "dense.keras")


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_a_checkpoint_that_was_copied_in_part(rgb, trained, tmp_path, ending):
    prefix = published_i3d.write_checkpoint(tmp_path / "model.ckpt", rgb[1])
    with open(f"{prefix}{ending}", "r+b") as file:
        file.truncate(40)
    message = r"Cannot read '.*' as a TensorFlow checkpoint: .* Is it whole\?"
    with pytest.raises(ValueError, match=message):
        kd_keras.load_i3d_weights(trained, prefix)


def _assert_same_weights(model, expected, but=None):
    for layer in model.layers:
        if layer.name == but:
            continue
        others = expected.get_layer(layer.name).get_weights() if layer.weights else []
        for ours, theirs in zip(layer.get_weights(), others, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=layer.name)
