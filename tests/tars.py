"""Tars of numbered images, as EPIC-KITCHENS releases them."""

import io
import tarfile

import cv2


def write(path, images, suffix=".jpg"):
    """A tar of pictures by name, as OpenCV writes them (BGR or gray)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
    with tarfile.open(path, "w") as tar:
        for folder in sorted({name.rpartition("/")[0] for name in images} - {""}):
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, image in images.items():
            data = cv2.imencode(suffix, image, quality)[1].tobytes()
            entry = tarfile.TarInfo(f"{name}{suffix}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path
