"""A distillation step of I3D as one would write it in PyTorch, for comparison.

`training_step` starts it as a process of its own and asks for one step at a time: each
line that it reads is a step, each line that it writes the loss.
"""

import argparse
import functools

import torch
from torch import nn
from torch.nn import functional

from benchmarks import step_process
from kd_keras.models import i3d

_CLASSES = 21
_FEATURE_WEIGHT = 1e-3


class I3D(nn.Module):
    """The network of `kd_keras.I3D`."""

    def __init__(self, width):
        super().__init__()
        self._stages, channels = nn.ModuleDict(), 3
        for stage in i3d.STAGES:
            if isinstance(stage, i3d.Pool):
                module = _MaxPool(stage.window, stage.strides)
            elif isinstance(stage, i3d.Conv):
                filters = i3d.scale_filters(stage.filters, width)
                module = _conv(channels, filters, stage.kernel, stage.strides)
                channels = filters
            else:
                module = _Mixed(channels, stage, width)
                channels = sum(i3d.scale_filters(f, width) for f in stage.filters)
            self._stages[stage.name] = module
        self._classifier = nn.Linear(channels, _CLASSES)

    def forward(self, clip, feature_layer):
        """The logits, and the map of a stage."""
        for name, stage in self._stages.items():
            clip = stage(clip)
            if name == feature_layer:
                features = clip
        return self._classifier(clip.mean((2, 3, 4))), features


class _Mixed(nn.Module):
    def __init__(self, channels, stage, width):
        super().__init__()
        only = i3d.scale_filters(stage.branch_0, width)
        last = i3d.scale_filters(stage.branch_3, width)
        pairs = [
            [i3d.scale_filters(filters, width) for filters in pair]
            for pair in (stage.branch_1, stage.branch_2)
        ]
        self._branches = nn.ModuleList(
            [
                _conv(channels, only, 1),
                *(
                    nn.Sequential(_conv(channels, first, 1), _conv(first, second, 3))
                    for first, second in pairs
                ),
                nn.Sequential(_MaxPool((3, 3, 3), (1, 1, 1)), _conv(channels, last, 1)),
            ]
        )

    def forward(self, x):
        return torch.cat([branch(x) for branch in self._branches], 1)


def _conv(channels, filters, kernel, strides=1):
    # With a stride PyTorch does not pad by itself as TensorFlow does.
    padding = [_Pad(kernel, strides)] if strides > 1 else []
    mode = "valid" if padding else "same"
    return nn.Sequential(
        *padding,
        nn.Conv3d(channels, filters, kernel, strides, mode, bias=False),
        nn.BatchNorm3d(filters, eps=1e-3),
        nn.ReLU(inplace=True),
    )


class _Pad(nn.Module):
    """TensorFlow's SAME: the odd one of the zeros comes last."""

    def __init__(self, kernel, strides):
        super().__init__()
        self._kernel, self._strides = kernel, strides

    def forward(self, x):
        widths = []
        for size in reversed(x.shape[2:]):
            total = _padding(size, self._kernel, self._strides)
            widths += [total // 2, total - total // 2]
        return functional.pad(x, widths)


class _MaxPool(nn.Module):
    """The same; `ceil_mode` adds the odd one at the end."""

    def __init__(self, window, strides):
        super().__init__()
        self._window, self._strides = window, strides

    def forward(self, x):
        sizes = zip(x.shape[2:], self._window, self._strides, strict=True)
        before = [_padding(*size) // 2 for size in sizes]
        return functional.max_pool3d(
            x, self._window, self._strides, before, ceil_mode=True
        )


def _padding(size, window, stride):
    return max((-(-size // stride) - 1) * stride + window - size, 0)


def feature_loss(student, teacher, teacher_self_attention):
    """L_d (eq. 3) with Huber distances; the teacher's self-attention is stored."""
    student, teacher = (features.flatten(2).mT for features in (student, teacher))
    scale = student.shape[-1] ** -0.5
    scores = student @ teacher.mT * scale
    in_student = torch.softmax(student @ student.mT * scale, -1) @ student
    gaps = (
        torch.softmax(scores, -1) @ teacher - in_student,
        torch.softmax(scores.mT, -1) @ student - teacher_self_attention,
    )
    return sum(
        functional.huber_loss(gap, torch.zeros_like(gap), reduction="none")
        .sum(-1)
        .mean()
        for gap in gaps
    )


def _steps(options):
    """Yields the loss of one step after the other, always of the same batch."""
    torch.manual_seed(0)
    layout = torch.contiguous_format
    if options.channels_last:
        layout = torch.channels_last_3d
    networks = [I3D(options.width).to(memory_format=layout) for _ in range(2)]
    student, teacher = networks
    shape = (options.batch_size, 3, options.num_frames, *[options.image_size] * 2)
    observed, future = (
        torch.rand(shape).mul_(2).sub_(1).contiguous(memory_format=layout)
        for _ in range(2)
    )
    with torch.no_grad():
        logits, features = teacher(future, options.feature_layer)
        targets = logits.softmax(-1)
        tokens = features.flatten(2).mT
        scores = tokens @ tokens.mT * tokens.shape[-1] ** -0.5
        attended = scores.softmax(-1) @ tokens
    optimizer = torch.optim.SGD(student.parameters(), 1e-3, momentum=0.9)
    while True:
        optimizer.zero_grad()
        logits, student_features = student(observed, options.feature_layer)
        loss = functional.cross_entropy(logits, targets)
        loss += _FEATURE_WEIGHT * feature_loss(student_features, features, attended)
        loss.backward()
        optimizer.step()
        yield loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("batch_size", "num_frames", "image_size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--feature_layer", required=True)
    parser.add_argument("--channels_last", action="store_true")
    steps = _steps(parser.parse_args())
    step_process.serve(functools.partial(next, steps))


if __name__ == "__main__":
    main()
