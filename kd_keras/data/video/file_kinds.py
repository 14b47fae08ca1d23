"""Which files are videos or tars of frames, by their names: the project's one list."""

import os

TAR = ".tar"
# From a compressed tar no frame can be read without all before it.
COMPRESSED_TARS = (
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tbz",
    ".tbz2",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".tzst",
)
# What PyAV reads pictures from.
VIDEOS = frozenset(
    (
        *(
            ".mp4",
            ".m4v",
            ".mov",
            ".qt",
            ".3gp",
            ".3g2",
            ".f4v",
            ".mj2",
            ".ism",
            ".ismv",
        ),
        ".psp",
        *(".mkv", ".mk3d", ".webm", ".ogv", ".ogg", ".nut", ".ivf", ".mxf"),
        *(".avi", ".divx", ".wmv", ".asf", ".flv", ".rm", ".rmvb", ".dv", ".dif"),
        ".gif",
        *(".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".vob", ".mod", ".tod"),
        *(".ts", ".m2ts", ".m2t", ".mts"),
        *(".h261", ".h263", ".h264", ".264", ".avc", ".h26l", ".h265", ".265"),
        *(".hevc", ".vc1"),
        *(".obu", ".mjpg", ".mjpeg", ".y4m"),
    )
)


def split_suffix(file: str) -> tuple[str, str]:
    """The name of a file and what it ends in, in lower case: `a.Tar.GZ`, a, .tar.gz."""
    for suffix in COMPRESSED_TARS:
        if file.lower().endswith(suffix):
            return file[: -len(suffix)], suffix
    stem, suffix = os.path.splitext(file)
    return stem, suffix.lower()


def is_tar(file: str | os.PathLike) -> bool:
    """Whether it is a tar, compressed or not."""
    suffix = split_suffix(os.fspath(file))[1]
    return suffix == TAR or suffix in COMPRESSED_TARS


def problem(file: str | os.PathLike) -> str | None:
    """Says why a file of this name cannot be read, and the way out; None if it can."""
    path = os.fspath(file)
    suffix = split_suffix(path)[1]
    if suffix not in COMPRESSED_TARS:
        return None
    return (
        f"{path} is a compressed tar, from which no frame can be read without all "
        f"before it. Leave the frames in a tar without compression ({TAR}) or in a "
        f"folder: tar -xf {os.path.basename(path)}"
    )
