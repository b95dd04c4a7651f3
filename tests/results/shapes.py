"""Label maps whose outlines are hard to get right, and how to fill outlines again."""

import numpy as np
from skimage.draw import polygon2mask

from data.draw_samples import draw_fluorescence


def _parsed(text):
    return np.array([[int(letter) if letter != "." else 0 for letter in row] for row in text.split()])


def _drawn():
    return draw_fluorescence(np.random.default_rng(3), (120, 150))[1].astype(np.int32)


def _noise():
    rng = np.random.default_rng(4)
    return rng.integers(0, 3, (40, 50)) * (rng.random((40, 50)) < 0.8)


def _at_random(shape):
    return np.random.default_rng(5).integers(0, 3, shape)


CASES = {
    "one pixel": _parsed("... .1. ..."),
    "the whole image": np.ones((3, 5), np.uint16),
    "every edge of the image": _parsed("11.22 1...2 ..... 3...4 33.44"),
    "touching nuclei": _parsed("1122 1122 3344 3334"),
    "a hole": _parsed("111 1.1 111"),
    "another nucleus in the hole": _parsed("11111 1...1 1.2.1 1...1 11111"),
    "a piece in the hole of another": _parsed("1111111 1.....1 1.111.1 1.1.1.1 1.111.1 1.....1 1111111"),
    "a diagonal": _parsed("1.. .1. ..1"),
    "a diagonal of two nuclei": _parsed("12 21"),
    "a ring that closes in a corner": _parsed("111. 1.1. 11.1 .111"),
    "a hole that touches the outside": _parsed("11. 1.1 111"),
    "holes that touch": _parsed("1111 1.11 11.1 1111"),
    "pieces far apart": _parsed("11...... ........ ......11"),
    "labels with gaps": _parsed("..3 9.. ...") * 30_000,
    "noise": _noise(),
    "a row": _at_random((1, 30)),
    "a column": _at_random((30, 1)),
    "drawn nuclei": _drawn(),
}


def fill(rings, shape):
    """The pixels whose centres are inside an odd number of rings, by scikit-image: (H, W) bool."""
    inside = np.zeros(shape, bool)
    for ring in rings:
        # scikit-image has pixel centres at whole numbers, so no corner of ours is ever on one.
        inside ^= polygon2mask(shape, np.asarray(ring)[:, ::-1] - 0.5)
    return inside


def fill_labels(rings_by_label, shape):
    """A label map again; no pixel may be in two nuclei."""
    labels = np.zeros(shape, np.int64)
    for label, rings in rings_by_label.items():
        inside = fill(rings, shape)
        assert not labels[inside].any()
        labels[inside] = label
    return labels
