"""Generated recordings to try the whole product on: hands that reach for objects.

A camera pans along a bench. At every stop a hand comes in, forms its grip while it
heads for one of the objects, then acts on it. What is done to what is the class; only
the approach can be seen in the observed clip. A few segments of the training part are
labeled, most are not.
"""

import concurrent.futures
import csv
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from kd_keras.data.segments import TRAIN, VAL
from kd_keras.data.video import write_video

OBJECTS = ("box", "cup", "lamp")
VERBS = ("lift", "push", "shake")
CLASSES = tuple(f"{verb} {thing}" for verb in VERBS for thing in OBJECTS)

_ANNOTATIONS = "annotations.csv"
_ARGUMENTS = "scenes.json"
_VERSION = 1  # Of what is drawn: folders of another version are written again.

_STOP_GAP = 1.5
_DRIFT = 0.12
_CLUTTER = ("pebble", "leaf", "tile")
_PAINTS = {"box": (70, 140, 60), "cup": (60, 95, 200), "lamp": (210, 60, 50)}
_COFFEE, _GLOW = (70, 38, 20), (255, 232, 120)
_CONFETTI = ((240, 70, 90), (250, 210, 60), (90, 200, 240), (160, 90, 220))
_SKINS = ((236, 188, 160), (198, 140, 105), (140, 92, 66), (250, 208, 185))
_BENCHES = np.array(
    [(196, 164, 120), (150, 118, 88), (176, 178, 182), (205, 200, 186), (120, 128, 120)]
)


def write_scenes(
    folder: str | os.PathLike,
    num_videos: int = 160,
    segments_per_video: int = 5,
    labeled_fraction: float = 0.15,
    val_fraction: float = 0.25,
    image_size: tuple[int, int] = (96, 96),
    frame_rate: float = 12.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pathlib.Path:
    """Writes MP4 files and their annotations, `video,start,end,label,split`.

    The result depends on the arguments alone. A folder that holds the scenes of the
    same arguments is used as it is. Files are written aside and renamed at the end, so
    the folder is there completely or not at all.

    Args:
        folder: Where `annotations.csv` and `videos/` are to be.
        num_videos: Recordings in both parts.
        segments_per_video: Actions in a recording, about 4 s each.
        labeled_fraction: Part of the training segments that carry a label, evenly over
            the classes; the others have an empty one. All of `val` is labeled.
        val_fraction: Part of the videos that are `val`.
        image_size: Width and height, even numbers of pixels.
        frame_rate: Frames per second.
        seed: Another seed, other recordings.
        progress: Called with the number of videos written and of all.
    Returns:
        The path of `annotations.csv`.
    Raises:
        ValueError: If an argument is out of range, or `folder` holds anything but the
            scenes of these arguments.
    """
    width, height = image_size
    if num_videos < 2 or segments_per_video < 1:
        raise ValueError(
            "Scenes need at least 2 videos, one for each part, of at least 1 segment. "
            f"Got num_videos={num_videos}, segments_per_video={segments_per_video}."
        )
    if not 0 < labeled_fraction <= 1 or not 0 < val_fraction < 1:
        raise ValueError(
            "`labeled_fraction` must be in (0, 1] and `val_fraction` in (0, 1). Got "
            f"{labeled_fraction} and {val_fraction}."
        )
    if min(width, height) < 32 or width % 2 or height % 2:
        raise ValueError(
            "`image_size` must be an even width and height of at least 32 pixels. Got "
            f"{image_size}."
        )
    if not frame_rate >= 1:
        raise ValueError(f"`frame_rate` must be at least 1. Got {frame_rate}.")
    arguments = {
        "version": _VERSION,
        "num_videos": num_videos,
        "segments_per_video": segments_per_video,
        "labeled_fraction": labeled_fraction,
        "val_fraction": val_fraction,
        "image_size": [width, height],
        "frame_rate": frame_rate,
        "seed": seed,
    }
    folder = pathlib.Path(folder)
    if folder.exists():
        _check_same_scenes(folder, arguments)
        return folder / _ANNOTATIONS

    recordings = plan_recordings(num_videos, segments_per_video, width / height, seed)
    # Whole videos belong to a part: a stop's neighbours share its bench and its light.
    num_val = min(max(1, round(num_videos * val_fraction)), num_videos - 1)
    parts = [TRAIN] * (num_videos - num_val) + [VAL] * num_val

    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "videos").mkdir(parents=True)
    try:
        _write_videos(aside, recordings, image_size, frame_rate, progress)
        _write_annotations(aside, recordings, parts, labeled_fraction)
        (aside / _ARGUMENTS).write_text(json.dumps(arguments, indent=1) + "\n")
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder / _ANNOTATIONS


@dataclasses.dataclass(frozen=True)
class Item:
    """Something that lies on the bench. Lengths are in heights of the view."""

    kind: str
    place: np.ndarray
    radius: float
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Stop:
    """One action: the hand leaves `entry` at `come_s`, acts from `start_s` to `end_s`.

    Attributes:
        items: The target first, then the other objects and the clutter.
        bend: Control point of the curve that the hand follows.
        haste: Exponent of the hand's progress; the larger, the later it hurries.
        grip_s: When the grip begins to form.
    """

    verb: str
    items: tuple[Item, ...]
    come_s: float
    grip_s: float
    start_s: float
    end_s: float
    gone_s: float
    entry: np.ndarray
    bend: np.ndarray
    haste: float

    @property
    def label(self) -> str:
        return f"{self.verb} {self.items[0].kind}"


@dataclasses.dataclass(frozen=True)
class Recording:
    """A pan along a bench with one action at every stop.

    Attributes:
        camera_s, camera: Times and places (of the view's centre) the camera passes.
        shakiness_s: The camera's path is smoothed over this time.
        skin, sleeve: Colours of the hand and the arm.
        bench_seed: Of the bench's texture.
    """

    name: str
    stops: tuple[Stop, ...]
    duration_s: float
    aspect: float
    camera_s: np.ndarray
    camera: np.ndarray
    skin: tuple[float, float, float]
    sleeve: tuple[float, float, float]
    hand_radius: float
    bench_seed: int


def plan_recordings(
    num_videos: int, num_stops: int, aspect: float, seed: int
) -> list[Recording]:
    """Decides what happens in every video; nothing is drawn yet.

    All classes are equally frequent, in an order that says nothing.
    """
    rng = np.random.default_rng(seed)
    actions = list(itertools.product(VERBS, OBJECTS))
    num_actions = num_videos * num_stops
    order = np.concatenate(
        [rng.permutation(len(actions)) for _ in range(-(-num_actions // len(actions)))]
    )
    return [
        _plan_recording(
            f"bench{index:04d}",
            [actions[i] for i in order[index * num_stops :][:num_stops]],
            aspect,
            np.random.default_rng((seed, index)),
        )
        for index in range(num_videos)
    ]


def _plan_recording(name, actions, aspect, rng) -> Recording:
    stops, camera_s, camera = [], [], []
    clock_s = 0.4
    for index, (verb, kind) in enumerate(actions):
        centre = np.array([index * _STOP_GAP * aspect, 0.0])
        stop = _plan_stop(verb, kind, centre, clock_s, aspect, rng)
        stops.append(stop)
        # The camera never rests: whatever stays on the bench moves in the picture.
        for time_s in (
            stop.come_s,
            (stop.come_s + stop.start_s) / 2,
            stop.start_s,
            (stop.start_s + stop.end_s) / 2,
            stop.end_s,
        ):
            camera_s.append(time_s)
            camera.append(centre + rng.uniform(-_DRIFT, _DRIFT, 2))
        clock_s = stop.gone_s + rng.uniform(0.1, 0.4)
    return Recording(
        name=name,
        stops=tuple(stops),
        duration_s=clock_s,
        aspect=aspect,
        camera_s=np.array(camera_s),
        camera=np.array(camera),
        skin=_shade(_SKINS[rng.integers(len(_SKINS))], rng.uniform(0.9, 1.1)),
        sleeve=_shade((90, 95, 105), rng.uniform(0.5, 1.6)),
        hand_radius=rng.uniform(0.07, 0.085),
        bench_seed=int(rng.integers(2**31)),
    )


def _plan_stop(verb, kind, centre, clock_s, aspect, rng) -> Stop:
    others = [other for other in OBJECTS if other != kind]
    kinds = [kind, *rng.permutation(others), *_CLUTTER[: rng.integers(1, 4)]]
    room = np.array([aspect / 2 - 0.2, 0.28])
    places = _scatter(len(kinds), room, rng)
    items = [
        Item(
            kind=str(each),
            place=centre + place,
            radius=rng.uniform(0.105, 0.135) * (1.0 if each in OBJECTS else 0.4),
            colour=_colour_of(each, rng),
        )
        for each, place in zip(kinds, places, strict=True)
    ]
    come_s = clock_s
    start_s = come_s + rng.uniform(1.5, 2.1)
    end_s = start_s + rng.uniform(1.35, 1.6)
    # The hand comes in from below or from a side.
    turn = np.radians(rng.uniform(-20, 200))
    entry = centre + 0.85 * np.array([aspect * np.cos(turn), np.sin(turn)])
    middle = np.mean([item.place for item in items[: len(OBJECTS)]], axis=0)
    bend = entry + 0.5 * (middle - entry) + rng.normal(0, 0.06, 2)
    return Stop(
        verb=verb,
        items=tuple(items),
        come_s=come_s,
        grip_s=come_s + (start_s - come_s) * rng.uniform(0.1, 0.5),
        start_s=start_s,
        end_s=end_s,
        gone_s=end_s + rng.uniform(0.6, 0.8),
        entry=entry,
        bend=bend,
        haste=rng.uniform(1.2, 1.8),
    )


def _scatter(count, room, rng):
    """Places around 0 that keep their distance; the first three more of it."""
    while True:
        places = rng.uniform(-room, room, (count, 2))
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
        gaps[np.diag_indices(count)] = np.inf
        if gaps[:3, :3].min() > 0.3 and gaps.min() > 0.15:
            return places


def _colour_of(kind, rng):
    if kind in _PAINTS:
        base = np.array(_PAINTS[kind])
        return tuple(
            np.clip(base * rng.uniform(0.85, 1.15) + rng.normal(0, 15, 3), 0, 255)
        )
    return tuple(rng.uniform(60, 190) + rng.normal(0, 10, 3))


def draw_recording(
    recording: Recording,
    image_size: tuple[int, int],
    frame_rate: float,
    only: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """Yields the frames, uint8 RGB (height, width, 3)."""
    width, height = image_size
    # Drawn twice as large and averaged, which smooths every edge.
    scale = 2 * height
    times_s = np.arange(round(recording.duration_s * frame_rate)) / frame_rate
    if only is not None:
        times_s = times_s[only]
    bench, origin = _paint_bench(recording, height)
    for time_s, eye in zip(times_s, _camera_path(recording, times_s), strict=True):
        corner = eye - np.array([recording.aspect, 1.0]) / 2
        view = cv2.getRectSubPix(bench, (width, height), tuple((eye - origin) * height))
        canvas = cv2.resize(view, (2 * width, 2 * height))
        for stop in recording.stops:
            if -0.7 < stop.items[0].place[0] - eye[0] < recording.aspect + 0.7:
                _draw_stop(canvas, stop, recording, time_s, corner, scale)
        yield cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _camera_path(recording, times_s):
    # Linear between the planned places, then a moving average against the corners.
    moments_s = times_s[:, None] + np.linspace(-0.3, 0.3, 13)
    return np.stack(
        [
            np.interp(moments_s, recording.camera_s, recording.camera[:, axis]).mean(1)
            for axis in (0, 1)
        ],
        axis=-1,
    )


def _paint_bench(recording, height):
    """Returns the bench as a wide picture and the place of its corner."""
    rng = np.random.default_rng(recording.bench_seed)
    margin = np.array([recording.aspect, 1.0])
    low = recording.camera.min(0) - margin
    columns, rows = ((recording.camera.max(0) + margin - low) * height).astype(int)
    base = _BENCHES[rng.integers(len(_BENCHES))] + rng.normal(0, 10, 3)
    light = np.zeros((rows, columns), np.float32)
    # Long grain, large blotches and small ones.
    for length, breadth, strength in ((0.6, 0.02, 7), (0.25, 0.2, 8), (0.04, 0.04, 5)):
        cells = (int(rows / (breadth * height)), int(columns / (length * height)))
        noise = rng.normal(0, strength, cells).astype(np.float32)
        light += cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_LINEAR)
    gap = rng.uniform(0.16, 0.34)
    for y in np.arange(rng.uniform(0, gap), rows / height, gap):
        light[int(y * height)] -= 30
        for x in np.arange(rng.uniform(0, 1), columns / height, rng.uniform(0.7, 1.4)):
            light[int(y * height) : int((y + gap) * height), int(x * height)] -= 30
    picture = light[..., None] + base.astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8), low


def _draw_stop(canvas, stop, recording, time_s, corner, scale):
    target, done, shadows, parts = stop.items[0], _done(stop, time_s), [], []
    shift, angle, size = _displacement(stop, time_s)
    for item in stop.items[1:]:
        _add_item(item, np.zeros(2), 0.0, 1.0, shadows, parts)
    _add_item(target, shift, angle, size, shadows, parts)
    happened = _smooth(min(1.0, 2.5 * done))
    if happened and target.kind == "lamp":
        parts.insert(
            -1,
            (
                [
                    target.radius * size * _disc(1.1, 1.1)
                    + target.place
                    + shift
                    + np.array([0, -0.6 * target.radius])
                ],
                _GLOW,
            ),
        )
    if happened and target.kind == "cup":
        puddle = happened * _disc(0.3, 0.17) + target.place + np.array([0.05, 0.1])
        parts.insert(0, ([puddle], _COFFEE))
    if stop.come_s < time_s < stop.gone_s:
        _add_hand(stop, recording, time_s, shift, size, shadows, parts)
    if happened and target.kind == "box":
        for index in range(24):
            way = 2.4 * index
            reach = happened * (0.12 + 0.3 * (0.618 * index % 1))
            place = target.place + shift + reach * np.array([np.cos(way), np.sin(way)])
            place = place + np.array([0.0, 0.15 * done**2])
            piece = _disc(0.03, 0.02) @ _rotation(way + 5 * done).T + place
            parts.append(([piece], _CONFETTI[index % 4]))
    shaded = canvas.copy()
    for points in shadows:
        _fill(shaded, [points], (0, 0, 0), corner, scale)
    cv2.addWeighted(shaded, 0.3, canvas, 0.7, 0, dst=canvas)
    for contours, colour in parts:
        _fill(canvas, contours, colour, corner, scale)
    if happened and target.kind == "lamp":
        lit = canvas.copy()
        for r in (0.55, 0.4):
            _fill(
                lit, [_disc(r, r) * size + target.place + shift], _GLOW, corner, scale
            )
        cv2.addWeighted(lit, 0.4 * happened, canvas, 1 - 0.4 * happened, 0, dst=canvas)


def _done(stop, time_s):
    return np.clip((time_s - stop.start_s) / (stop.end_s - stop.start_s), 0, 1)


def _displacement(stop, time_s):
    """Shift, turn and size of the target by the action."""
    done = _done(stop, time_s)
    since_s = max(0.0, time_s - stop.end_s)
    if stop.verb == "push":
        away = 1.0 if stop.items[0].place[0] >= stop.entry[0] else -1.0
        return np.array([0.45 * away * _smooth(done), 0.0]), 0.0, 1.0
    if stop.verb == "lift":
        height = max(0.0, _smooth(min(1, 1.5 * done)) - 8.0 * since_s**2)
        return np.array([0.0, -0.22 * height]), 0.0, 1.0 + 0.8 * height
    swing = np.sin(2 * np.pi * 3 * done)
    return np.array([0.11 * swing, -0.04 * abs(swing)]), 0.7 * swing, 1.0


def _add_item(item, shift, angle, size, shadows, parts):
    place = item.place + shift
    ground = item.place + np.array([shift[0], 0.0])
    shadows.append(
        item.radius * _DISC * (0.95, 0.4) + ground + item.radius * np.array([0.15, 0.8])
    )
    turn = item.radius * size * _rotation(angle).T
    for contours, shade in _SHAPES[item.kind]:
        parts.append(
            ([points @ turn + place for points in contours], _shade(item.colour, shade))
        )


def _add_hand(stop, recording, time_s, shift, size, shadows, parts):
    """Adds arm, palm and fingers: progress along the curve, grip as far as formed."""
    target, radius = stop.items[0], recording.hand_radius * (1 + 0.4 * (size - 1))
    heading = target.place - stop.bend
    heading = heading / np.linalg.norm(heading)
    contact = target.place - heading * (0.6 * target.radius + 1.3 * radius)
    if time_s < stop.end_s:
        come = np.clip((time_s - stop.come_s) / (stop.start_s - stop.come_s), 0, 1)
        progress = come**stop.haste
    else:
        progress = 1 - _smooth((time_s - stop.end_s) / (stop.gone_s - stop.end_s))
    u = progress
    place = (1 - u) ** 2 * stop.entry + 2 * u * (1 - u) * stop.bend + u**2 * contact
    tangent = (1 - u) * (stop.bend - stop.entry) + u * (contact - stop.bend)
    if time_s < stop.end_s:
        place = place + shift
    angle = np.arctan2(tangent[1], tangent[0])
    formed = _smooth(
        np.clip((time_s - stop.grip_s) / (stop.start_s - stop.grip_s), 0, 1)
    )
    fingers = (1 - formed) * _GRIPS["rest"] + formed * _GRIPS[stop.verb]

    turn = radius * _rotation(angle)
    skin, dark = recording.skin, _shade(recording.skin, 0.82)
    arm = _capsule((-14.0, 0.0), (-1.0, 0.0), 0.85) @ turn.T + place
    wrist = _capsule((-1.6, 0.0), (-0.5, 0.0), 0.6) @ turn.T + place
    palm = _disc(1.0, 0.9) @ turn.T + place
    shadows += [arm + radius * 0.5, palm + radius * 0.5]
    parts += [([wrist], skin), ([arm], recording.sleeve)]
    for degrees, length, root in fingers:
        base = np.array([0.45, root])
        tip = base + length * np.array(
            [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]
        )
        parts.append(([_capsule(base, tip, 0.3) @ turn.T + place], dark))
        parts.append(([_capsule(base, tip, 0.22) @ turn.T + place], skin))
    parts.append(([palm], skin))


def _fill(canvas, contours, colour, corner, scale):
    """Fills the area between closed curves; several may leave holes."""
    points = [
        np.round((each - corner) * scale * 16).astype(np.int32) for each in contours
    ]
    cv2.fillPoly(canvas, points, colour, lineType=cv2.LINE_AA, shift=4)


def _smooth(u):
    return u * u * (3 - 2 * u)


def _rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _disc(rx, ry, x=0.0, y=0.0, start=0.0, stop=360.0):
    angles = np.radians(np.linspace(start, stop, 25))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=-1)


def _capsule(a, b, radius):
    """A thick line with round ends."""
    a, b = np.asarray(a), np.asarray(b)
    angle = np.degrees(np.arctan2(*(b - a)[::-1]))
    ends = [(b, angle - 90, angle + 90), (a, angle + 90, angle + 270)]
    return np.concatenate(
        [_disc(radius, radius, *end, start, stop)[::3] for end, start, stop in ends]
    )


def _shade(colour, factor):
    return tuple(float(np.clip(factor * channel, 0, 255)) for channel in colour)


def _write_videos(folder, recordings, image_size, frame_rate, progress):
    def write(recording):
        frames = draw_recording(recording, image_size, frame_rate)
        write_video(folder / _video_name(recording), frames, frame_rate)

    # OpenCV and the encoder release the interpreter's lock.
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as executor:
        written = [executor.submit(write, recording) for recording in recordings]
        for done, future in enumerate(concurrent.futures.as_completed(written), 1):
            future.result()
            if progress is not None:
                progress(done, len(recordings))


def _write_annotations(folder, recordings, parts, labeled_fraction):
    labels = [
        stop.label
        for recording, part in zip(recordings, parts, strict=True)
        if part == TRAIN
        for stop in recording.stops
    ]
    budget = round(labeled_fraction * len(labels))
    labeled = set(_spread_labels(labels, budget))
    rows, index = [], itertools.count()
    for recording, part in zip(recordings, parts, strict=True):
        for stop in recording.stops:
            known = part != TRAIN or next(index) in labeled
            rows.append(
                {
                    "video": _video_name(recording),
                    "start": f"{stop.start_s:.3f}",
                    "end": f"{stop.end_s:.3f}",
                    "label": stop.label if known else "",
                    "split": part,
                }
            )
    with open(folder / _ANNOTATIONS, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _spread_labels(labels, budget):
    """Picks positions class by class in turn, each class from its first on."""
    by_class = {}
    for position, label in enumerate(labels):
        by_class.setdefault(label, []).append(position)
    turns = itertools.zip_longest(*(by_class[label] for label in sorted(by_class)))
    in_turn = [position for turn in turns for position in turn if position is not None]
    return in_turn[:budget]


def _video_name(recording):
    return f"videos/{recording.name}.mp4"


def _check_same_scenes(folder, arguments):
    try:
        found = json.loads((folder / _ARGUMENTS).read_text())
    except FileNotFoundError:
        raise ValueError(
            f"{folder} exists and holds no generated scenes; name another folder."
        ) from None
    if found != arguments:
        raise ValueError(
            f"{folder} holds scenes of other arguments, {found}. Got {arguments}; "
            "remove it or name another folder."
        )


_DISC = _disc(1.0, 1.0)

# Contours in radii of the item, y down, each with the shade of the item's colour.
_SHAPES = {
    "box": (
        ((np.array([(-1, -0.55), (1, -0.55), (1, 0.9), (-1, 0.9)]),), 1.0),
        ((np.array([(-1, -0.55), (-0.7, -0.95), (1.25, -0.95), (1, -0.55)]),), 1.5),
        ((np.array([(1, -0.55), (1.25, -0.95), (1.25, 0.5), (1, 0.9)]),), 0.6),
        ((np.array([(-0.2, -0.55), (0.2, -0.55), (0.2, 0.9), (-0.2, 0.9)]),), 2.0),
    ),
    "cup": (
        ((_disc(0.55, 0.5, 0.75, 0.0), _disc(0.3, 0.26, 0.75, 0.0)), 0.85),
        ((np.array([(-0.8, -0.8), (0.8, -0.8), (0.6, 0.95), (-0.6, 0.95)]),), 1.0),
        ((_disc(0.8, 0.25, 0.0, -0.8),), 1.4),
        ((_disc(0.62, 0.17, 0.0, -0.77),), 0.45),
    ),
    "lamp": (
        ((_disc(0.6, 0.22, 0.0, 0.85),), 0.7),
        ((np.array([(-0.12, -0.2), (0.12, -0.2), (0.12, 0.85), (-0.12, 0.85)]),), 0.5),
        ((np.array([(-0.45, -1.0), (0.45, -1.0), (0.95, 0.1), (-0.95, 0.1)]),), 1.0),
        ((_disc(0.95, 0.18, 0.0, 0.1),), 1.35),
    ),
    "pebble": (((_disc(1.1, 0.8),), 1.0), ((_disc(0.4, 0.2, -0.3, -0.3),), 1.3)),
    "leaf": (
        ((np.array([(-1.4, 0), (-0.4, -0.6), (1.4, 0), (-0.4, 0.6)]),), 1.0),
        ((np.array([(-1.4, 0), (1.4, 0.06), (1.4, -0.06)]),), 0.7),
    ),
    "tile": (((np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]),), 1.0),),
}

# Five fingers, thumb first: direction in degrees from straight ahead, length and root
# across the palm, both in radii of the palm.
_GRIPS = {
    "rest": np.array(
        [
            (-50, 0.7, -0.6),
            (-15, 0.8, -0.4),
            (0, 0.9, 0),
            (15, 0.8, 0.3),
            (25, 0.7, 0.6),
        ]
    ),
    "push": np.array(
        [
            (-25, 1.0, -0.7),
            (-3, 1.6, -0.5),
            (0, 1.8, -0.1),
            (0, 1.7, 0.25),
            (3, 1.5, 0.6),
        ]
    ),
    "lift": np.array(
        [
            (-45, 1.6, -0.6),
            (45, 1.7, 0.6),
            (20, 0.4, 0.1),
            (35, 0.4, 0.3),
            (45, 0.4, 0.5),
        ]
    ),
    "shake": np.array(
        [
            (-80, 1.5, -0.6),
            (-40, 1.7, -0.5),
            (0, 1.8, 0),
            (40, 1.7, 0.5),
            (75, 1.5, 0.6),
        ]
    ),
}
