"""Turns and mirrors pictures by the display matrix of their file."""

import av.sidedata.sidedata
import cv2
import numpy as np

# Degrees from a quarter turn, and from a right angle between the axes, that count as
# rounding.
_ROUNDING_DEGREES = 1.0


def _unknown_side_data(cls, number):
    """Names what FFmpeg knows and PyAV does not, such as the EXIF of a camera's JPEGs.

    Without a name PyAV raises, and hides the matrix beside it.
    """
    member = object.__new__(cls)
    member._name_, member._value_ = f"UNKNOWN_{number}", number
    return member


av.sidedata.sidedata.Type._missing_ = classmethod(_unknown_side_data)


def display_matrix(frame) -> np.ndarray:
    """The 2x2 matrix that takes (x, y) of a decoded frame to (x, y) as it is shown.

    Its columns have length 1: sizes are not its matter. A turn that is nearly one of
    whole quarters is made exact.

    Args:
        frame: `av.VideoFrame`.
    Raises:
        ValueError: The file's matrix neither turns nor mirrors; it shears, or is zero.
    """
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            # Three rows of (x, y, perspective) in fixed point; vectors are rows.
            stored = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)
            return _checked(stored[:2, :2].T / 65536)
    return np.eye(2)


def swaps_sides(matrix: np.ndarray) -> bool:
    """Whether width and height change their places."""
    return bool(np.array_equal(np.abs(matrix), [[0, 1], [1, 0]]))


def turn(picture: np.ndarray, matrix: np.ndarray, aspect: float) -> np.ndarray:
    """Turns and mirrors a picture about its middle.

    If the angle is no quarter turn, the picture keeps its size. Its corners are cut
    off, and empty corners are black.

    Args:
        picture: uint8 (height, width, 3).
        aspect: Width by height of a pixel as it is shown.
    """
    if not np.array_equal(np.abs(matrix), np.abs(matrix).round()):
        return _turn_by_an_odd_angle(picture, matrix, aspect)
    if swaps_sides(matrix):
        picture = picture.swapaxes(0, 1)
    x, y = matrix.sum(axis=1)
    return np.ascontiguousarray(picture[:: int(y), :: int(x)])


def _checked(matrix):
    lengths = np.linalg.norm(matrix, axis=0)
    if not lengths.all():
        raise ValueError("its display matrix is zero in one direction")
    matrix = matrix / lengths
    rounding = np.sin(np.deg2rad(_ROUNDING_DEGREES))
    if abs(matrix[:, 0] @ matrix[:, 1]) > rounding:
        raise ValueError(
            "its display matrix shears the picture, and neither turns nor mirrors it: "
            f"{matrix.round(3).tolist()}"
        )
    quarters = matrix.round()
    return quarters if np.abs(matrix - quarters).max() < rounding else matrix


def _turn_by_an_odd_angle(picture, matrix, aspect):
    height, width = picture.shape[:2]
    to_square = np.diag([aspect, 1.0])
    turning = np.linalg.inv(to_square) @ matrix @ to_square
    middle = np.array([width - 1, height - 1]) / 2
    moving = middle - turning @ middle
    return cv2.warpAffine(
        picture,
        np.column_stack([turning, moving]),
        (width, height),
        flags=cv2.INTER_LINEAR,
    )
