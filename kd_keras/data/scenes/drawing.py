"""Draws the frames of the generated recordings."""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

from kd_keras.data.scenes.plan import Recording

# Everything is drawn so much larger and averaged, which smooths the edges.
_OVERSAMPLING = 2


def draw_recording(
    recording: Recording,
    image_size: tuple[int, int],
    frame_rate: float,
    only: list[int] | None = None,
) -> Iterator[np.ndarray]:
    """Yields the frames, uint8 RGB (height, width, 3).

    Args:
        image_size: Width and height in pixels.
        only: Positions of the frames to draw; None for all.
    """
    height = image_size[1]
    times_s = np.arange(round(recording.duration_s * frame_rate)) / frame_rate
    if only is not None:
        times_s = times_s[only]
    bench, origin = _paint_bench(recording, height)
    for time_s, eye in zip(times_s, _camera_path(recording, times_s), strict=True):
        view = cv2.getRectSubPix(bench, image_size, tuple((eye - origin) * height))
        canvas = _Canvas(view, eye)
        for stop in recording.stops:
            if abs(stop.items[0].place[0] - eye[0]) < recording.aspect + 0.5:
                _draw_stop(canvas, stop, recording, time_s)
        yield canvas.picture(image_size)


def _camera_path(recording, times_s):
    # Linear between the planned places, then a moving average against the corners.
    moments_s = times_s[:, None] + np.linspace(-0.3, 0.3, 13)
    axes = [
        np.interp(moments_s, recording.camera_s, places).mean(axis=1)
        for places in recording.camera.T
    ]
    return np.stack(axes, axis=-1)


def _paint_bench(recording, height):
    """Returns the bench as a wide picture, and the place of its corner."""
    rng = np.random.default_rng(recording.bench_seed)
    margin = np.array([recording.aspect, 1.0])
    low = recording.camera.min(axis=0) - margin
    columns, rows = np.ceil((np.ptp(recording.camera, axis=0) + 2 * margin) * height)
    columns, rows = int(columns), int(rows)
    light = np.zeros((rows, columns), np.float32)
    # Long grain, broad clouds, specks.
    for length, breadth, strength in ((0.6, 0.02, 6), (0.3, 0.25, 7), (0.04, 0.04, 4)):
        cells = np.ceil([rows / (breadth * height), columns / (length * height)])
        noise = rng.normal(0, strength, cells.astype(int)).astype(np.float32)
        light += cv2.resize(noise, (columns, rows))
    plank = rng.uniform(0.16, 0.34)
    for y in np.arange(rng.uniform(0, plank), rows / height, plank):
        top, bottom = int(y * height), int((y + plank) * height)
        light[top] -= 30
        for x in np.arange(rng.uniform(0, 1), columns / height, rng.uniform(0.7, 1.4)):
            light[top:bottom, int(x * height)] -= 30
    painted = light[..., None] + np.array(recording.wood, np.float32)
    return np.clip(painted, 0, 255).astype(np.uint8), low


class _Canvas:
    """An enlarged view with its shadows: draws by places on the bench."""

    def __init__(self, view, eye):
        height, width = view.shape[:2]
        size = (_OVERSAMPLING * width, _OVERSAMPLING * height)
        self._image = cv2.resize(view, size)
        self._shade = np.full(size[::-1], 255, np.uint8)
        self._corner = eye - np.array([width / height, 1.0]) / 2
        self._scale = _OVERSAMPLING * height

    def fill(self, contours, color):
        """Fills the area between closed curves; an inner one leaves a hole."""
        points = [self._to_pixels(contour) for contour in contours]
        cv2.fillPoly(self._image, points, color, cv2.LINE_AA, shift=4)

    def fill_in_turn(self, contours, colors):
        """Fills the areas of closed curves (curves, points, 2), the colors in turn."""
        for points, color in zip(
            self._to_pixels(contours), itertools.cycle(colors), strict=False
        ):
            cv2.fillPoly(self._image, [points], color, cv2.LINE_AA, shift=4)

    def stroke(self, start, end, radius, color):
        """Draws a thick line with round ends."""
        self._line(self._image, start, end, radius, color)

    def shade(self, contour):
        cv2.fillPoly(self._shade, [self._to_pixels(contour)], 185, cv2.LINE_AA, shift=4)

    def shade_stroke(self, start, end, radius):
        self._line(self._shade, start, end, radius, 185)

    def cast_shadows(self):
        """Darkens what was drawn so far."""
        shade = cv2.cvtColor(self._shade, cv2.COLOR_GRAY2RGB)
        cv2.multiply(self._image, shade, dst=self._image, scale=1 / 255)
        self._shade[:] = 255

    def picture(self, image_size):
        return cv2.resize(self._image, image_size, interpolation=cv2.INTER_AREA)

    def _line(self, image, start, end, radius, color):
        a, b = self._to_pixels(np.stack([start, end])).tolist()
        thickness = max(1, round(2 * radius * self._scale))
        cv2.line(image, a, b, color, thickness, cv2.LINE_AA, shift=4)

    def _to_pixels(self, places):
        # In sixteenths of a pixel, as `shift=4` says.
        return np.rint((places - self._corner) * (16 * self._scale)).astype(np.int32)


def _draw_stop(canvas, stop, recording, time_s):
    target, *others = stop.items
    done = np.clip((time_s - stop.start_s) / (stop.end_s - stop.start_s), 0, 1)
    since_s = max(0.0, time_s - stop.end_s)
    for item in stop.items:
        canvas.shade(
            item.place + item.radius * (_DISC * (1.0, 0.4) + np.array([0.15, 0.85]))
        )
    canvas.cast_shadows()
    for item in others:
        _draw_item(canvas, item, item.place, np.ones(2))
    _ACTIONS[stop.verb](canvas, target, done, since_s)
    if stop.come_s < time_s < stop.gone_s:
        _draw_hand(canvas, stop, recording, time_s, done)


def _draw_item(canvas, item, place, stretch):
    size = item.radius * stretch
    for contours, shade in _SHAPES[item.kind]:
        canvas.fill([c * size + place for c in contours], _shaded(item.color, shade))


def _lift(canvas, item, done, since_s):
    """Comes towards the camera, and falls back when the hand lets go."""
    height = max(0.0, _smooth(min(1.0, 2.0 * done)) - 8.0 * since_s**2)
    place = item.place - np.array([0.0, 0.12 * height])
    _draw_item(canvas, item, place, np.full(2, 1 + 1.3 * height))


def _press(canvas, item, done, since_s):
    """Becomes a wide, flat disc, and stays so."""
    flat = _smooth(min(1.0, 2.0 * done))
    place = item.place + np.array([0.0, 0.5 * flat * item.radius])
    if flat > 0:
        edge = place + flat * item.radius * _DISC * (2.3, 1.3)
        canvas.fill([edge + np.array([0.0, 0.015])], _shaded(item.color, 0.6))
        canvas.fill([edge], item.color)
    _draw_item(canvas, item, place, np.array([1 + 0.9 * flat, 1 - 0.6 * flat]))


def _smash(canvas, item, done, since_s):
    """Flies into pieces, which stay on the bench."""
    if done < 0.1:
        _draw_item(canvas, item, item.place, np.ones(2))
        return
    spread = 1 - (1 - min(1.0, 1.6 * (done - 0.1))) ** 2
    numbers = np.arange(_NUM_SHARDS)
    far = np.sqrt((numbers + 0.5) / _NUM_SHARDS)
    # The golden angle spreads them evenly.
    way = 2.39996 * numbers
    ways = np.stack([np.cos(way), np.sin(way)], axis=-1)
    places = item.place + (spread * 0.45 * far)[:, None] * ways
    turns = _rotation(way + 3 * spread * far).T
    canvas.fill_in_turn(
        places[:, None] + 0.45 * item.radius * _SHARD @ turns,
        [_shaded(item.color, shade) for shade in (0.75, 1.0, 1.3)],
    )


_ACTIONS = {"lift": _lift, "press": _press, "smash": _smash}


def _draw_hand(canvas, stop, recording, time_s, done):
    """Arm, palm and fingers: as far along the curve, and as formed, as they are."""
    target, radius = stop.items[0], recording.hand_radius
    heading = target.place - stop.bend
    heading = heading / np.linalg.norm(heading)
    reach = 0.5 * target.radius + (1.4 if stop.verb == "lift" else 2.0) * radius
    contact = target.place - heading * reach
    if time_s < stop.start_s:
        come = (time_s - stop.come_s) / (stop.start_s - stop.come_s)
        u = 1 - (1 - come) ** stop.haste
    elif time_s < stop.end_s:
        # A fist pounds.
        u = 1.0 - (0.12 * abs(np.sin(9.5 * done)) if stop.verb == "smash" else 0.0)
    else:
        u = 1 - _smooth((time_s - stop.end_s) / (stop.gone_s - stop.end_s))
    place = (1 - u) ** 2 * stop.entry + 2 * u * (1 - u) * stop.bend + u**2 * contact
    tangent = (1 - u) * (stop.bend - stop.entry) + u * (contact - stop.bend)
    formed = np.clip((time_s - stop.grip_s) / (stop.start_s - stop.grip_s), 0, 1)
    formed = _smooth(min(1.0, 1.3 * formed))
    fingers = (1 - formed) * _GRIPS["rest"] + formed * _GRIPS[stop.verb]

    turn = radius * _rotation(np.arctan2(tangent[1], tangent[0])).T
    wrist, cuff, shoulder = np.array([(-0.5, 0), (-1.6, 0), (-16, 0)]) @ turn + place
    height = radius * np.array([0.35, 0.5])
    canvas.shade_stroke(shoulder + height, wrist + height, 0.75 * radius)
    canvas.shade(_DISC @ turn + place + height)
    canvas.cast_shadows()
    canvas.stroke(wrist, cuff, 0.6 * radius, recording.skin)
    canvas.stroke(cuff, shoulder, 0.85 * radius, recording.sleeve)
    for contour, shade in _TOOLS[stop.verb]:
        canvas.fill([contour @ turn + place], _shaded(stop.tool_color, shade))
    outline = _shaded(recording.skin, 0.75)
    roots = np.stack([np.full(5, 0.45), fingers[:, 2]], axis=-1)
    angles = np.radians(fingers[:, 0])
    tips = roots + fingers[:, 1:2] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    for root, tip in zip(roots @ turn + place, tips @ turn + place, strict=True):
        canvas.stroke(root, tip, 0.3 * radius, outline)
        canvas.stroke(root, tip, 0.22 * radius, recording.skin)
    canvas.fill([(_DISC * (1.0, 0.9)) @ turn + place], recording.skin)


def _smooth(u):
    return u * u * (3 - 2 * u)


def _rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _disc(rx, ry, x=0.0, y=0.0):
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=-1)


def _shaded(color, factor):
    return tuple(min(255.0, factor * channel) for channel in color)


_DISC = _disc(1.0, 1.0)
_NUM_SHARDS = 24
_SHARD = np.array([(-1.0, -0.5), (0.9, -0.7), (0.3, 0.9)])

# Contours in radii of the item, each group with the shade of the item's color.
_SHAPES = {
    "box": (
        ((np.array([(-1, -0.55), (1, -0.55), (1, 0.9), (-1, 0.9)]),), 1.0),
        ((np.array([(-1, -0.55), (-0.7, -0.95), (1.25, -0.95), (1, -0.55)]),), 1.3),
        ((np.array([(1, -0.55), (1.25, -0.95), (1.25, 0.5), (1, 0.9)]),), 0.6),
        ((np.array([(-0.2, -0.55), (0.2, -0.55), (0.2, 0.9), (-0.2, 0.9)]),), 1.6),
    ),
    "cup": (
        ((_disc(0.55, 0.5, 0.75, 0.0), _disc(0.3, 0.26, 0.75, 0.0)), 0.85),
        ((np.array([(-0.8, -0.8), (0.8, -0.8), (0.6, 0.95), (-0.6, 0.95)]),), 1.0),
        ((_disc(0.8, 0.25, 0.0, -0.8),), 1.3),
        ((_disc(0.62, 0.17, 0.0, -0.77),), 0.45),
    ),
    "lamp": (
        ((_disc(0.6, 0.22, 0.0, 0.85),), 0.7),
        ((np.array([(-0.14, -0.2), (0.14, -0.2), (0.14, 0.85), (-0.14, 0.85)]),), 0.5),
        ((np.array([(-0.45, -1.0), (0.45, -1.0), (1.0, 0.15), (-1.0, 0.15)]),), 1.0),
        ((_disc(1.0, 0.18, 0.0, 0.15),), 1.3),
    ),
    "pebble": (((_disc(1.1, 0.8),), 1.0), ((_disc(0.4, 0.2, -0.3, -0.3),), 1.3)),
}

# Five fingers, thumb first: degrees from straight ahead, length and root across the
# palm, both in radii of the palm.
_FIST = np.array(
    [(-20, 0.4, -0.5), (-5, 0.4, -0.4), (0, 0.4, 0), (5, 0.4, 0.3), (15, 0.4, 0.6)]
)
_GRIPS = {
    "rest": np.array(
        [
            (-50, 0.9, -0.6),
            (-15, 1.0, -0.4),
            (0, 1.1, 0),
            (15, 1.0, 0.3),
            (25, 0.9, 0.6),
        ]
    ),
    "lift": np.array(
        [
            (-40, 1.7, -0.6),
            (40, 1.7, 0.6),
            (20, 0.3, 0.1),
            (35, 0.3, 0.3),
            (45, 0.3, 0.5),
        ]
    ),
    "press": _FIST,
    "smash": _FIST,
}

# What the hand brings along, ahead of the palm, with the shade of the tool's color.
_HANDLE = np.array([(0, -0.15), (2.0, -0.15), (2.0, 0.15), (0, 0.15)])
_TOOLS = {
    "lift": (),
    "press": (
        (_HANDLE, 0.5),
        (_disc(1.15, 1.15, 2.4), 0.8),
        (_disc(0.95, 0.95, 2.4), 1.0),
    ),
    "smash": (
        (_HANDLE, 1.4),
        (np.array([(1.6, -1.1), (2.4, -1.1), (2.4, 1.1), (1.6, 1.1)]), 1.0),
        (np.array([(1.6, -1.1), (2.4, -1.1), (2.4, -0.7), (1.6, -0.7)]), 0.7),
    ),
}
