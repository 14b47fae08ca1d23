"""Two runs are added logit by logit, on the same clips, and neither is touched."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from tests import small_run
from train import data as data_lib
from train import fuse, networks, remote_run
from train.flags import config as config_lib
from train.run_directory import RunDirectory

_METHODS = ("labels", "attention")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return small_run.write_data_set(tmp_path_factory.mktemp("videos"))


def _make_run(videos, run_dir, seed, *more):
    """A run whose networks never learned anything."""
    flags = [f"--students={','.join(_METHODS)}", f"--seed={seed}"]
    flags += ["--test_crops=ten", "--backbone=tsn_small", "--segments=2", *more]
    config = small_run.config(videos, run_dir, *flags)
    RunDirectory(config).begin()
    (run_dir / "students").mkdir()
    for number, name in enumerate(("teacher", *(f"students/{m}" for m in _METHODS))):
        run = dataclasses.replace(config.run, seed=10 * seed + number)
        model = networks.build_teacher(dataclasses.replace(config, run=run), 2)
        # Large enough to tell the clips apart.
        head = model.get_layer("Logits_segments")
        head.kernel.assign(
            50 * np.random.default_rng(number).normal(size=head.kernel.shape)
        )
        model.save(run_dir / f"{name}.keras")
    return run_dir


@pytest.fixture(scope="module")
def runs(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    flow = ("--modality=flow", "--flow_method=dis")
    return (
        _make_run(videos, folder / "rgb", 1),
        _make_run(videos, folder / "flow", 2, *flow),
    )


def _fuse(runs, run_dir, *more):
    flags = config_lib.flags.FlagValues()
    config_lib.define_flags(flags)
    fused = ",".join(map(str, runs))
    flags(["", "--task=evaluate", f"--fuse={fused}", f"--run_dir={run_dir}", *more])
    return fuse.run_fusion(config_lib.from_flags(flags))


def _logits(run_dir, name, field):
    """Mean logits of ten views of each clip, without the project's code."""
    config = config_lib.from_flagfile(run_dir / "run.flags")
    data = data_lib.load(config, run_dir)
    model = keras.saving.load_model(run_dir / f"{name}.keras", compile=False)
    logits = []
    for pair in data.evaluated:
        frames = data.loader.load(getattr(pair, field)).astype(np.float32)
        bottom, right = np.array(frames.shape[1:3]) - 32
        views = []
        for top, left in (
            (bottom // 2, right // 2),
            (0, 0),
            (0, right),
            (bottom, 0),
            (bottom, right),
        ):
            clip = frames[:, top : top + 32, left : left + 32] / 127.5 - 1
            mirrored = clip[:, :, ::-1].copy()
            if clip.shape[-1] == 2:
                mirrored[..., 0] *= -1
            views += [clip, mirrored]
        logits.append(model(np.stack(views), training=False).numpy().mean(axis=0))
    return np.array([pair.label for pair in data.evaluated]), np.array(logits)


def test_logits_are_added_with_their_weights(runs, tmp_path, capsys):
    before = {path: path.read_bytes() for run in runs for path in run.rglob("*.*")}
    results = _fuse(runs, tmp_path / "both", "--fuse_weights=1,0.5")
    networks_ = {
        ("teacher", "future"): ("teacher", "future"),
        ("teacher", "observed"): ("teacher", "observed"),
        ("students", "labels"): ("students/labels", "observed"),
        ("students", "attention"): ("students/attention", "observed"),
    }
    confusion = 0
    for (kind, which), (name, field) in networks_.items():
        labels, rgb = _logits(runs[0], name, field)
        _, flow = _logits(runs[1], name, field)
        for column, logits in (
            ("rgb", rgb),
            ("flow", flow),
            ("both", rgb + 0.5 * flow),
        ):
            expected = np.mean(logits.argmax(1) == labels)
            assert results[column][kind][which]["top1"] == pytest.approx(expected)
        matrix = np.zeros((2, 2), int)
        np.add.at(matrix, (labels, (rgb + 0.5 * flow).argmax(1)), 1)
        assert results["confusion"][f"{kind}.{which}"] == matrix.tolist()
        confusion += matrix
    # The networks differ in what they say.
    assert (confusion > 0).all()
    assert results["num_evaluated"] == len(labels) == 2
    assert json.loads((tmp_path / "both/results.json").read_text()) == json.loads(
        json.dumps(results)
    )
    assert before == {path: path.read_bytes() for path in before}
    table = capsys.readouterr().out
    assert "logits added 1 : 0.5" in table
    rows = [line.split()[-3:] for line in table.splitlines() if "L_d" in line]
    assert rows == [
        [
            f"{100 * results[c]['students']['attention']['top1']:.1f}"
            for c in ("rgb", "flow", "both")
        ]
    ]
    assert [line.split()[-3:] for line in table.splitlines() if "top-1" in line] == [
        ["RGB", "Flow", "Both"]
    ]


def test_runs_on_a_store_are_fetched(runs, tmp_path):
    # One cannot be told from the other before it is read.
    swapped = [f"file://{run}" for run in reversed(runs)]
    with pytest.raises(ValueError, match=f"{runs[1]} is a run of --modality=flow"):
        _fuse(swapped, tmp_path / "both")
    with remote_run.fetched(f"file://{runs[1]}") as (path,):
        assert fuse.Stream(path, "flow").methods() == list(_METHODS)


def test_a_moved_run_is_found_where_it_is(runs, tmp_path):
    moved = tmp_path / "moved"
    moved.symlink_to(runs[1])
    stream = fuse.Stream(moved, "flow")
    assert stream.config.run.run_dir == str(moved)
    assert stream.methods() == list(_METHODS)


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda rgb, flow: (flow, rgb), (), "run of --modality=flow where rgb was"),
        (lambda rgb, flow: (rgb,), (), "take two values each"),
        (lambda rgb, flow: (rgb, flow), ("--fuse_weights=1",), "take two values each"),
        (lambda rgb, flow: (rgb, flow), ("--task=all",), "add --task=evaluate"),
        (lambda rgb, flow: (rgb, rgb.parent), (), "run.flags is no flagfile of a run"),
    ],
)
def test_what_cannot_be_fused_is_refused(runs, tmp_path, change, more, message):
    with pytest.raises(ValueError, match=message):
        _fuse(change(*runs), tmp_path / "both", *more)


def test_a_run_is_never_overwritten_by_its_fusion(runs):
    with pytest.raises(ValueError, match="results need a folder of their own"):
        _fuse(runs, runs[0])


def test_runs_of_other_clips_do_not_compare(videos, runs, tmp_path):
    other = _make_run(
        videos, tmp_path / "flow", 3, "--modality=flow", "--flow_method=dis"
    )
    flags = (other / "run.flags").read_text()
    (other / "run.flags").write_text(flags + "--lead_time_s=0.8\n")
    with pytest.raises(ValueError, match="do not evaluate the same pairs: 2 .*differ"):
        _fuse((runs[0], other), tmp_path / "both")


def test_clips_that_one_run_alone_can_read_are_named(runs, tmp_path, monkeypatch):
    def all_logits(stream, methods):
        indices = [1] if stream.modality == "flow" else [0, 1]
        return {"teacher.future": np.zeros((len(indices), 2))}, indices

    monkeypatch.setattr(fuse.Stream, "all_logits", all_logits)
    with pytest.raises(
        ValueError, match=r"1 of the evaluated clips can be read in one .*\n  v3\.mp4"
    ):
        _fuse(runs, tmp_path / "both")


def test_the_flags_of_a_run_come_back_from_its_folder(videos, tmp_path):
    config = small_run.config(
        videos, tmp_path / "run", "--modality=flow", "--fuse_weights=0.5,2"
    )
    RunDirectory(config).begin()
    again = config_lib.from_flagfile(tmp_path / "run/run.flags")
    assert again == config and again.run.fuse_weights == (0.5, 2.0)
    assert dataclasses.asdict(again)["run"]["fuse"] == ()
    with pytest.raises(ValueError, match="is no flagfile of a run"):
        config_lib.from_flagfile(tmp_path / "nothing")
    (tmp_path / "run/run.flags").write_text("--from_the_future=1\n")
    with pytest.raises(ValueError, match="from_the_future"):
        config_lib.from_flagfile(tmp_path / "run/run.flags")
