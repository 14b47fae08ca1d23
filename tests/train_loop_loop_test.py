"""The training loop: what ends it, what it goes on from, which weights it leaves."""

import os
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny_training
from tests.tiny_training import train
from train import times
from train.loop import guards
from train.loop.checkpoints import CannotSaveError, Checkpoints
from train.loop.distribution import Distribution
from train.loop.interruption import Interrupted, Interruption
from train.run_directory import RunDirectory
from train.student import feature_weight


class Killed(Exception):
    """Stands for a process that ends without a word."""


def _run(path, *arguments):
    return RunDirectory(tiny_training.config(f"--run_dir={path}", *arguments))


def _metrics(path):
    return (path / "metrics.jsonl").read_bytes()


def _assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def _at(step, do):
    def before(number):
        if number == step:
            do()

    return before


def _kill():
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights and the metrics of a training that nothing ends."""
    path = tmp_path_factory.mktemp("whole")
    return train(_run(path)), _metrics(path)


@pytest.mark.parametrize(
    ("step", "arguments", "continued"),
    [
        (2, (), 0),
        (7, (), 4),
        (7, ("--checkpoint_every_steps=3",), 6),
        (7, ("--checkpoint_every_minutes=0",), 7),
    ],
)
def test_a_killed_training_ends_with_the_same_weights_and_metrics(
    tmp_path, whole, step, arguments, continued, capsys
):
    with pytest.raises(Killed):
        train(_run(tmp_path), *arguments, before=_at(step, _kill))
    # As where it ends while it writes a line.
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"phase": "tiny", "step": 8, "lo')
    _assert_same(train(_run(tmp_path), *arguments), whole[0])
    assert _metrics(tmp_path) == whole[1]
    said = f"tiny continues at step {continued} of 12"
    assert (said in capsys.readouterr().out) == (continued > 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_training_after_its_step(tmp_path, whole, number):
    arrives = _at(5, lambda: signal.raise_signal(number))
    with Interruption() as interruption, pytest.raises(Interrupted) as stopped:
        train(_run(tmp_path), before=arrives, interruption=interruption)
    assert stopped.value.code == 128 + number
    assert "tiny is saved at step 6 of 12. The same command" in stopped.value.message
    [before] = times.read(tmp_path)
    _assert_same(train(_run(tmp_path)), whole[0])
    assert _metrics(tmp_path) == whole[1]
    [both] = times.read(tmp_path)
    assert before.name == both.name == "tiny" and both.seconds > before.seconds > 0
    assert 0 <= both.waiting <= 1


def test_a_signal_in_validation_loses_nothing_and_validates_again(tmp_path):
    class Validation:
        """Says how often it ran; the second time a signal comes."""

        def __init__(self, signaled):
            self.steps, self._signaled = 0, signaled

        def __call__(self):
            self.steps += 1
            if self._signaled and self.steps == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"top1": 0.5}

    expected = train(_run(tmp_path / "whole"), validate=Validation(False))
    path = tmp_path / "cut"
    with Interruption() as interruption, pytest.raises(Interrupted):
        train(_run(path), validate=Validation(True), interruption=interruption)
    assert [record["step"] for record in _run(path).history()] == [4]
    again = Validation(False)
    _assert_same(train(_run(path), validate=again), expected)
    assert again.steps == 2  # Steps 8 and 12.
    assert _metrics(path) == _metrics(tmp_path / "whole")


def test_a_worker_that_others_wait_for_ends_its_validation(tmp_path):
    """They would wait for it for ever, and it for them where it saves."""

    class OneOfTwo(Distribution):
        def __init__(self):
            super().__init__()
            self.num_workers = 2

    validated = []

    def validate():
        validated.append("begun")
        if len(validated) == 1:
            signal.raise_signal(signal.SIGTERM)
        validated.append("ended")
        return {"top1": 0.5}

    with Interruption() as interruption, pytest.raises(Interrupted) as stopped:
        train(
            _run(tmp_path),
            validate=validate,
            interruption=interruption,
            distribution=OneOfTwo(),
        )
    assert validated == ["begun", "ended"]
    assert "tiny is saved at step 5 of 12" in stopped.value.message


@pytest.mark.parametrize("damage", ["cut", "missing", "changed"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path, whole, damage, capsys
):
    with pytest.raises(Killed):
        train(_run(tmp_path), before=_at(9, _kill))
    state = tmp_path / "state" / "tiny"
    assert sorted(f.name for f in state.iterdir()) == ["step-00000004", "step-00000008"]
    data = next(state.glob("step-00000008/*.data*"))
    content = data.read_bytes()
    if damage == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        middle = len(content) // 2
        changed = bytes(255 - byte for byte in content[middle : middle + 8])
        data.write_bytes(content[:middle] + changed + content[middle + 8 :])
    else:
        next(state.glob("step-00000008/*.index")).unlink()
    _assert_same(train(_run(tmp_path)), whole[0])
    assert _metrics(tmp_path) == whole[1]
    printed = capsys.readouterr()
    assert "step-00000008 is damaged and left out" in printed.err
    assert "continues at step 4" in printed.out


def test_a_full_disk_keeps_what_was_saved_before(tmp_path):
    expected = train(_run(tmp_path / "whole"), units=2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    validations = []

    def fill():
        validations.append(None)
        if len(validations) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        return {}

    path = tmp_path / "cut"
    try:
        with pytest.raises(
            CannotSaveError, match=r"step 8 cannot .*again: it .*step 4"
        ):
            train(_run(path), units=2000, validate=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    state = path / "state" / "tiny"
    assert [folder.name for folder in state.iterdir()] == ["step-00000004"]
    _assert_same(train(_run(path), units=2000), expected)
    assert _metrics(path) == _metrics(tmp_path / "whole")


def test_two_workers_that_are_one_process_number_write_apart(tmp_path, monkeypatch):
    """In containers every worker may be process 1."""
    folders = []

    def write(checkpoint, path):
        folders.append(os.path.dirname(path))

    monkeypatch.setattr(tf.train.Checkpoint, "write", write)
    for _ in range(2):
        Checkpoints(tmp_path, {"x": tf.Variable(1.0)}, writes=False).save(3)
    assert len(set(folders)) == 2 and not list(tmp_path.iterdir())


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    train(_run(tmp_path), "--keep_checkpoints=1", "--checkpoint_every_steps=1")
    names = [folder.name for folder in (tmp_path / "state" / "tiny").iterdir()]
    assert names == ["step-00000012"]


def test_a_loss_that_is_no_number_stops_with_step_terms_and_clips(tmp_path):
    with pytest.raises(guards.DivergedError) as stopped:
        train(_run(tmp_path), "--optimizer=sgd", "--student_steps=9", **_exploding())
    text = str(stopped.value)
    # The batch of step 6 is number 5: positions 30 to 35 of 9 pairs.
    assert "tiny: the loss is not a finite number at step 6: loss nan" in text
    assert "v3 3.00-4.00 s and 3.00-5.00 s, class 1; v4" in text
    assert [f.name for f in (tmp_path / "state/tiny").iterdir()] == ["step-00000004"]


def _exploding():
    """Makes the inputs of one step infinite."""
    stream = tiny_training.Stream

    class Broken(stream):
        def _batches(self, number):
            for step, batch in enumerate(super()._batches(number), self._step):
                if step == 5:
                    batch["observed"] = batch["observed"] * np.inf
                yield batch

    return {"stream": Broken}


def test_a_loss_that_explodes_stops():
    with pytest.raises(guards.DivergedError, match=r"explodes \(it was 2\) at step 9"):
        guards.stop_if_diverged("tiny", 9, {"loss": 2.1e4}, 2.0, lambda: "clips")
    guards.stop_if_diverged("tiny", 9, {"loss": 1.9e4}, 2.0, lambda: "clips")


def test_labels_without_an_output_are_refused():
    guards.check_labels(tiny_training.PAIRS, 2)
    with pytest.raises(ValueError, match="v1 has the label 1, .* the 1 classes 0 to 0"):
        guards.check_labels(tiny_training.PAIRS, 1)


def test_gradients_far_apart_are_warned_of(capsys):
    norms = {"label": 1.0, "pseudo_label": 0.0, "feature": 50.0}
    guards.warn_of_gradients("tiny", 4, norms)
    assert not capsys.readouterr().err
    for feature, change in ((200.0, "Lower"), (0.005, "Raise")):
        guards.warn_of_gradients("tiny", 4, {**norms, "feature": feature})
        assert f"{change} --feature_weight" in capsys.readouterr().err


def test_a_weight_that_goes_down_to_0_is_warned_of_only_while_it_dominates(capsys):
    ratio = feature_weight(
        tiny_training.config("--feature_weight_schedule=cosine_down").distillation, 1500
    )["gradient_ratio"]
    norms = {"label": 1.0, "feature": float(ratio(1450))}
    guards.warn_of_gradients("tiny", 1450, norms)
    assert "Raise --feature_weight" in capsys.readouterr().err
    guards.warn_of_gradients("tiny", 1450, norms, weight_moves=True)
    assert not capsys.readouterr().err
    guards.warn_of_gradients("tiny", 9, {**norms, "feature": 200.0}, weight_moves=True)
    assert "Lower --feature_weight" in capsys.readouterr().err


def _validations(values):
    values = iter(values)
    return lambda: {"top1": next(values), "loss": 1.0}


def test_the_best_weights_are_kept_and_training_stops_early(tmp_path):
    arguments = ("--keep=best", "--early_stopping=2", "--validate_every=2")
    best = train(_run(tmp_path / "best"), "--schedule=constant", steps=4)
    found = train(
        _run(tmp_path / "all"),
        *("--schedule=constant", *arguments),
        validate=_validations([0.2, 0.6, 0.6, 0.5, 0.9]),
    )
    _assert_same(found, best)
    # The first of equals is the best; two validations later is step 8.
    assert [r["step"] for r in _run(tmp_path / "all").history()] == [2, 4, 6, 8]


def test_a_loss_is_best_where_it_is_lowest(tmp_path):
    path = tmp_path / "run"
    losses = iter([0.7, 0.3, 0.5])
    found = train(
        _run(path),
        *("--keep=best", "--best_metric=loss", "--schedule=constant"),
        validate=lambda: {"loss": next(losses)},
    )
    best = train(_run(tmp_path / "best"), "--schedule=constant", steps=8)
    _assert_same(found, best)


def test_averaged_weights_are_validated_and_kept(tmp_path):
    decay, seen, followed = 0.6, [], []
    options = tiny_training.config(f"--ema={decay}")
    steps = []

    def before(step):
        followed.append([np.array(w) for w in model.trainable_variables])
        steps.append(step)

    model = tiny_training.trainer(options, 12)
    tiny_training.fit(
        model,
        options,
        _run(tmp_path),
        12,
        before=before,
        validate=lambda: seen.append(_trained(model)) or {},
    )
    average = followed[0]
    for number, weights in enumerate(followed[1:]):
        rate = min(decay, (1 + number) / (10 + number))
        average = [
            rate * old + (1 - rate) * new
            for old, new in zip(average, weights, strict=True)
        ]
        if number == 3:
            for one, other in zip(seen[0], average, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    # The last weights are not in the list, but the average is what is left.
    _assert_same(_trained(model), seen[2])


def _trained(model):
    return [np.array(weight) for weight in model.trainable_variables]


def test_an_averaged_training_continues(tmp_path):
    expected = train(_run(tmp_path / "whole"), "--ema=0.9", "--keep=last")
    with pytest.raises(Killed):
        train(_run(tmp_path / "cut"), "--ema=0.9", before=_at(6, _kill))
    _assert_same(train(_run(tmp_path / "cut"), "--ema=0.9"), expected)


def test_a_profile_is_written_and_changes_nothing(whole, tmp_path):
    weights = train(_run(tmp_path, "--profile=2"), "--profile=2")
    _assert_same(weights, whole[0])
    assert list(tmp_path.glob("tensorboard/tiny/plugins/profile/*/*.xplane.pb"))


def test_compiled_steps_train_the_same(tmp_path):
    weights = {}
    for choice in ("off", "on"):
        # Adam would make much of a bias whose gradient BatchNorm cancels; XLA draws
        # other numbers for dropout.
        flags = f"--jit_compile={choice}", "--optimizer=sgd"
        weights[choice] = train(_run(tmp_path / choice, *flags), *flags, dropout=0)
    for one, other in zip(*weights.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
