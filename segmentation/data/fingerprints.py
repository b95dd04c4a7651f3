"""A few kilobytes about each image, to compare the images of a data set without keeping their pixels."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from segmentation.data.modality import kind_of

THUMBNAIL_SIDE = 32


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image: its (H, W) shape, a digest of its pixels, its kind, and float32 means of the channels.

    `top`, `bottom` (W,) and `left`, `right` (H,) are its outermost rows and columns, `thumbnail` (32, 32) is the image
    reduced by area averaging.
    """

    shape: tuple[int, int]
    digest: str
    kind: str
    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray
    thumbnail: np.ndarray


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """Return the fingerprint of a whole image at native depth, (H, W, C) uint8 or uint16 or float32."""
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    small = cv2.resize(pixels, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)

    def grey(line: np.ndarray) -> np.ndarray:
        return line.mean(axis=-1, dtype=np.float32)

    return Fingerprint(
        shape=pixels.shape[:2],
        digest=digest.hexdigest(),
        kind=kind_of(pixels),
        top=grey(pixels[0]),
        bottom=grey(pixels[-1]),
        left=grey(pixels[:, 0]),
        right=grey(pixels[:, -1]),
        thumbnail=grey(np.atleast_3d(small)),
    )
