"""Decides what happens in the generated recordings: who is where, when, does what."""

import dataclasses
import itertools

import numpy as np

OBJECTS = ("box", "cup", "lamp")
VERBS = ("lift", "press", "smash")
CLASSES = tuple(f"{verb} {thing}" for verb in VERBS for thing in OBJECTS)

# Places, sizes and distances are in heights of the view; y points down.
_STOP_GAP = 1.5
_PAINTS = {"box": (60, 145, 60), "cup": (50, 90, 205), "lamp": (215, 60, 45)}
_SKINS = ((236, 188, 160), (198, 140, 105), (140, 92, 66), (250, 208, 185))
_TOOL_PAINTS = {
    "lift": ((0, 0, 0),),
    "press": ((240, 240, 235), (190, 195, 205), (225, 200, 150)),
    "smash": ((35, 35, 40), (80, 82, 92), (75, 45, 25)),
}
_WOODS = ((196, 164, 120), (150, 118, 88), (176, 178, 182), (205, 200, 186))
# How often 0 and 1 other objects lie beside the one that the hand is after.
_NUM_OTHERS = (0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Item:
    """Something that lies on the bench: one of `OBJECTS`, or a pebble."""

    kind: str
    place: np.ndarray
    radius: float
    color: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Stop:
    """One action: the hand comes from `come_s`, acts from `start_s` to `end_s`.

    Attributes:
        items: The target first.
        grip_s: When the grip begins to form; it is complete at `start_s`.
        gone_s: When the hand has left.
        entry: Where the hand comes from.
        bend: Control point of the curve that it follows.
        haste: Exponent of its progress; the larger, the later it hurries.
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
    tool_color: tuple[float, float, float]

    @property
    def label(self) -> str:
        return f"{self.verb} {self.items[0].kind}"


@dataclasses.dataclass(frozen=True)
class Recording:
    """A camera that pans along a bench, with one action at every stop.

    Attributes:
        aspect: Width of the view over its height.
        camera_s: Times at which the view's center is at the places `camera`.
        bench_seed: Of the texture.
    """

    name: str
    stops: tuple[Stop, ...]
    duration_s: float
    aspect: float
    camera_s: np.ndarray
    camera: np.ndarray
    wood: tuple[float, float, float]
    skin: tuple[float, float, float]
    sleeve: tuple[float, float, float]
    hand_radius: float
    bench_seed: int


def plan_recordings(
    num_videos: int,
    num_stops: int,
    aspect: float,
    seed: int,
    camera_drift: float = 0.1,
) -> list[Recording]:
    """Plans every recording; it depends on its number and on what is given alone.

    Classes are as equally frequent as can be, in an order that says nothing.

    Args:
        camera_drift: How far the camera may be from the center of a stop, along each
            axis.
    """
    actions = list(itertools.product(VERBS, OBJECTS))
    order = itertools.chain.from_iterable(
        np.random.default_rng((seed, number, 0)).permutation(len(actions))
        for number in itertools.count()
    )
    return [
        _plan_recording(
            f"bench{number:04d}",
            [actions[index] for index in itertools.islice(order, num_stops)],
            aspect,
            camera_drift,
            np.random.default_rng((seed, number, 1)),
        )
        for number in range(num_videos)
    ]


def _plan_recording(name, actions, aspect, drift, rng) -> Recording:
    stops, camera_s, camera = [], [], []
    clock_s = 0.4
    for number, (verb, kind) in enumerate(actions):
        center = np.array([number * _STOP_GAP * aspect, 0.0])
        stop = _plan_stop(verb, kind, center, clock_s, aspect, rng)
        stops.append(stop)
        # What stays on the bench moves in the picture, as the camera drifts.
        middle_s = (stop.come_s + stop.start_s) / 2
        for time_s in (stop.come_s, middle_s, stop.start_s, stop.end_s):
            camera_s.append(time_s)
            camera.append(center + rng.uniform(-drift, drift, 2))
        clock_s = stop.gone_s + rng.uniform(0.1, 0.3)
    return Recording(
        name=name,
        stops=tuple(stops),
        duration_s=clock_s,
        aspect=aspect,
        camera_s=np.array(camera_s),
        camera=np.array(camera),
        wood=_vary(_WOODS[rng.integers(len(_WOODS))], 10, rng),
        skin=_vary(_SKINS[rng.integers(len(_SKINS))], 5, rng),
        sleeve=(rng.uniform(40, 150),) * 3,
        hand_radius=rng.uniform(0.11, 0.125),
        bench_seed=int(rng.integers(2**31)),
    )


def _plan_stop(verb, kind, center, clock_s, aspect, rng) -> Stop:
    others = rng.permutation([other for other in OBJECTS if other != kind])
    num_others = rng.choice(len(_NUM_OTHERS), p=_NUM_OTHERS)
    kinds = [kind, *map(str, others[:num_others]), *["pebble"] * rng.integers(2)]
    items = tuple(
        Item(
            kind=each,
            place=center + place,
            radius=rng.uniform(0.14, 0.17) if each in OBJECTS else 0.05,
            color=_vary(_PAINTS.get(each, (130, 130, 130)), 15, rng),
        )
        for each, place in zip(kinds, _scatter(len(kinds), aspect, rng), strict=True)
    )
    start_s = clock_s + rng.uniform(1.5, 2.0)
    end_s = start_s + rng.uniform(1.35, 1.5)
    # In from below or from a side, at first towards no object in particular.
    turn = np.radians(rng.uniform(-20, 200))
    entry = center + 0.8 * np.array([aspect * np.cos(turn), np.sin(turn)])
    middle = np.mean([item.place for item in items], axis=0)
    return Stop(
        verb=verb,
        items=items,
        come_s=clock_s,
        grip_s=clock_s + rng.uniform(0.0, 0.4),
        start_s=start_s,
        end_s=end_s,
        gone_s=end_s + rng.uniform(0.6, 0.8),
        entry=entry,
        bend=entry + 0.35 * (middle - entry) + rng.normal(0, 0.05, 2),
        haste=rng.uniform(1.2, 2.0),
        tool_color=_vary(rng.choice(_TOOL_PAINTS[verb]), 10, rng),
    )


def _scatter(count, aspect, rng):
    """Places around 0, with room for an object between any two."""
    room = np.array([aspect / 2 - 0.22, 0.26])
    while True:
        places = rng.uniform(-room, room, (count, 2))
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
        if np.all(gaps[np.triu_indices(count, 1)] > 0.34):
            return places


def _vary(color, spread, rng):
    varied = np.array(color) * rng.uniform(0.85, 1.15) + rng.normal(0, spread, 3)
    return tuple(np.clip(varied, 0, 255).tolist())
