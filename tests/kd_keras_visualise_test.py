"""Pictures of a run: nothing is covered, nothing stands in white."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kd_keras import visualise

_HISTORIES = {
    phase: [{"step": step, "loss": 1.0, "val_top1": 0.5} for step in (10, 20)]
    for phase in ("teacher", "student_labels", "student_attention")
}


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, still open."""
    drawn, save = [], visualise._save

    def keep(figure, path):
        drawn.append(figure)
        return save(figure, path)

    monkeypatch.setattr(visualise, "_save", keep)
    return drawn


def test_the_legend_of_curves_covers_none(tmp_path, figures):
    visualise.curves(_HISTORIES, tmp_path / "curves.png")
    [figure] = figures
    [legend] = figure.legends
    assert all(axis.get_legend() is None for axis in figure.axes)
    box = legend.get_window_extent()
    for axis in figure.axes:
        assert not box.overlaps(axis.get_tightbbox())
    names = [text.get_text() for text in legend.get_texts()]
    assert names[:3] == [*_HISTORIES] and len(names) == 5


def test_one_point_of_training_is_told_from_one_of_validation(tmp_path, figures):
    histories = {"teacher": [{"step": 6, "loss": 2.0, "val_loss": 1.0}]}
    visualise.curves(histories, tmp_path / "curves.png")
    [figure] = figures
    training, validation = (
        (line.get_marker(), line.get_fillstyle()) for line in figure.axes[0].lines
    )
    assert training == ("o", "none") and validation == ("o", "full")
    keys = {
        text.get_text(): (handle.get_marker(), handle.get_fillstyle())
        for text, handle in zip(
            figure.legends[0].get_texts(),
            figure.legends[0].legend_handles,
            strict=True,
        )
    }
    assert keys["on training clips"] == training
    assert keys["on validation clips"] == validation


def test_a_loss_that_compares_maps_is_drawn_apart_from_that_of_validation(
    tmp_path, figures
):
    terms = {"label_loss": 1.0, "feature_loss": 300.0}
    histories = {
        "teacher": [{"step": 6, "loss": 2.0, "val_loss": 3.0}],
        "student": [{"step": 6, "loss": 35.0, "val_loss": 4.0, **terms}],
        "pseudo": [{"step": 6, "loss": 1.5, "feature_loss": 0.0}],
    }
    visualise.curves(histories, tmp_path / "curves.png")
    drawn = {
        (axis.get_title(), axis.get_ylabel()): [x.get_ydata()[0] for x in axis.lines]
        for axis in figures[0].axes
        if axis.lines
    }
    assert drawn == {
        ("feature loss", "squared features (no unit)"): [300.0, 0.0],
        ("label loss", "nats per clip"): [1.0],
        ("loss", "nats per clip"): [2.0, 3.0, 4.0, 1.5],
        ("loss with feature maps", "no unit"): [35.0],
    }


def test_every_axis_says_what_it_measures_and_in_what(tmp_path, figures):
    visualise.curves(_HISTORIES, tmp_path / "curves.png")
    visualise.confusion({"a": [[1, 0], [0, 1]]}, ["x", "y"], tmp_path / "confusion.png")
    visualise.table([("teacher", 0.5)], tmp_path / "table.png")
    labels = [
        (axis.get_xlabel(), axis.get_ylabel())
        for figure in figures
        for axis in figure.axes
    ]
    assert labels == [
        ("training step", "nats per clip"),
        ("training step", "fraction of clips"),
        ("predicted class", "true class"),
        ("", "fraction of the true class"),
        ("top-1 in percent of clips", ""),
    ]


def test_a_picture_is_of_the_kind_that_its_path_ends_in(tmp_path):
    for name, start in (("table.svg", b"<?xml"), ("table.png", b"\x89PNG")):
        visualise.table([("teacher", 0.5)], tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)


def test_the_bars_of_the_table_are_in_percent(tmp_path, figures):
    visualise.table([("teacher", 0.785)], tmp_path / "table.png")
    [bar] = figures[0].axes[0].patches
    assert bar.get_width() == pytest.approx(78.5)


@pytest.mark.parametrize("size", [(16, 16), (18, 32), (32, 18)])
def test_frames_fill_the_contact_sheet(size, tmp_path):
    clips = np.zeros((2, 9, *size, 3), "uint8")
    sheet = visualise.contact_sheet(clips, ["", ""], tmp_path / "clips.png")
    filled = np.mean((sheet == 0).all(-1))
    title = visualise._TITLE_HEIGHT
    frame = visualise._FRAME_WIDTH * size[0] / size[1]
    assert filled > 0.95 * frame / (frame + title) and filled > 0.75


def test_a_frame_keeps_its_shape_on_the_sheet(tmp_path):
    clip = np.zeros((1, 20, 40, 3), "uint8")
    sheet = visualise.contact_sheet([clip], [""], tmp_path / "a.png", 1)
    dark = np.argwhere((sheet == 0).all(-1))
    height, width = np.ptp(dark, axis=0) + 1
    assert width / height == pytest.approx(2, rel=0.03)


def test_flow_is_shown_as_red_and_green():
    flow = np.array([[1.0, -1.0]])
    assert visualise.as_rgb(flow).tolist() == [[255, 0, 127]]
    assert visualise.as_rgb(np.array([[9, 8, 7]], "uint8")).tolist() == [[9, 8, 7]]


def test_people_without_red_cones_tell_the_colors_apart():
    default = [f"C{number}" for number in range(len(visualise.PALETTE))]
    assert _least_gap_without_red_cones(visualise.PALETTE) > 0.12
    # The default that curves were drawn in before: green and orange are one.
    assert _least_gap_without_red_cones(default) < 0.06


def _least_gap_without_red_cones(colors):
    """Viénot, Brettel and Mollon (1999)."""
    to_cones = np.array(
        [
            [17.8824, 43.5161, 4.11935],
            [3.45565, 27.1554, 3.86714],
            [0.0299566, 0.184309, 1.46709],
        ]
    )
    cones = np.array([to_rgb(color) for color in colors]) ** 2.2 @ to_cones.T
    cones[:, 0] = 2.02344 * cones[:, 1] - 2.52581 * cones[:, 2]
    seen = np.clip(cones @ np.linalg.inv(to_cones).T, 0, 1) ** (1 / 2.2)
    gaps = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    return gaps[~np.eye(len(gaps), dtype=bool)].min()
