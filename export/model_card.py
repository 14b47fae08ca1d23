"""What an export says of itself in words: `model_card.md`, made of `run_card.json`."""

from collections.abc import Mapping
from typing import Any


def text_of(card: Mapping[str, Any]) -> str:
    """The Markdown of an export; `card` is what `run_card.json` holds."""
    lead_time_s = card["lead_time_s"]
    when = "" if lead_time_s is None else f", {lead_time_s:g} s before it starts"
    lines = [
        f"# {card['name']}, version {card['version']}",
        "",
        f"Says which action a video goes on with{when}: one of "
        f"{len(card['classes'])} classes. {_networks(card)}",
        "",
        "## Signatures",
        "",
        "| signature | inputs | outputs |",
        "| --- | --- | --- |",
        *(
            f"| `{name}` | {_cells(each['inputs'])} | {_cells(each['outputs'])} |"
            for name, each in card["signatures"].items()
        ),
        "",
        f"-1 is any number; the first is the batch.{_limits(card)}",
        "",
        "## Accuracy and data",
        "",
        *_accuracies(card),
        "",
        *_precision(card),
        f"{card['license_note']}",
        "",
        "Anticipations are guesses from what was filmed: classes, cameras and places "
        "that training did not hold are not known to the network.",
        "",
        "`run_card.json` beside this file has the flags, all metrics and checksums.",
    ]
    return "\n".join(lines) + "\n"


def _networks(card):
    streams = card.get("streams", {"": card})
    parts = [
        f"{each['network']} sees {each['clip_format']['num_frames']} "
        f"{_pictures(each['clip_format'])}"
        for each in streams.values()
    ]
    added = ""
    if len(streams) == 2:
        weights = " : ".join(f"{each['weight']:g}" for each in streams.values())
        added = f" Their logits are added {weights}."
    return (
        f"{' and '.join(parts)}, with {card['num_parameters']:,} parameters in all."
        f"{added}"
    )


def _pictures(clip_format):
    """What a network sees at each time of a clip."""
    if clip_format["modality"] == "features":
        height, width = clip_format["height"], clip_format["width"]
        kind = "vectors" if height == width == 1 else f"{height} x {width} maps"
        return f"{kind} of features with {clip_format['channels']} channels"
    side = clip_format["image_size"]
    kind = "flows" if clip_format["modality"] == "flow" else "frames"
    return f"{kind} of {side} x {side} pixels"


def _limits(card):
    limits = card["limits"]
    if limits is None:
        return ""
    return (
        f" A request may hold at most {limits['clips']} clips of {limits['frames']} "
        "frames."
    )


def _precision(card):
    change = card["accuracy_change"]
    if change is None:
        return []
    return [
        f"It computes in {card['precision']}. Top-1 accuracy on {change['num_clips']} "
        f"validation clips is {change['after']:.3f}, and was {change['before']:.3f} "
        f"before; {change['agreement']:.3f} of the answers agree.",
        "",
    ]


def _cells(infos):
    return ", ".join(
        f"`{name}` {info['dtype']} ({', '.join(map(str, info['shape']))})"
        for name, info in infos.items()
    )


def _accuracies(card):
    if "streams" not in card:
        return _accuracy(card)
    lines = ["The two were not scored together here. Each alone:"]
    for modality, each in card["streams"].items():
        lines += ["", f"### {modality}", "", *_accuracy(each)]
    return lines


def _accuracy(card):
    if card["metrics"] is None:
        return ["The student came without the results of its training."]
    student = card["metrics"].get("student") or {}
    data = card["data"]
    scores = [
        f"| {name} | {value:.3f} |"
        for name, value in student.items()
        if isinstance(value, float)
    ]
    counts = (
        f"{data.get('num_evaluated', '?')} clips were evaluated, "
        f"{data.get('num_train_labeled', '?')} labeled and "
        f"{data.get('num_train_unlabeled', '?')} unlabeled ones trained on."
    )
    return [counts, "", "| metric | value |", "| --- | --- |", *scores]
