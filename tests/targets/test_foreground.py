import numpy as np
import pytest
from scipy import ndimage

from segmentation.targets.encodings import ENCODINGS
from tests.targets.label_maps import LABEL_MAPS

FOREGROUND = ENCODINGS["foreground"]


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_decoding_gives_the_connected_components(name):
    label_map = LABEL_MAPS[name]()
    expected, count = ndimage.label(label_map, structure=np.ones((3, 3)))
    decoded = FOREGROUND.decode(FOREGROUND.encode(label_map))
    assert decoded.dtype == np.int32 and decoded.max(initial=0) == count
    pairs = np.unique(np.stack([decoded.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(expected))  # the same partition


def test_the_threshold_is_exclusive():
    predicted = np.array([[0.3, 0.30001, 0.9]], np.float32)[..., None]
    assert FOREGROUND.decode(predicted, {"foreground": np.float32(0.3)}).tolist() == [[0, 1, 1]]


def test_small_components_are_dropped():
    predicted = np.zeros((5, 9, 1), np.float32)
    predicted[1:4, 1:4], predicted[1, 6] = 1, 1
    assert FOREGROUND.decode(predicted, min_area=2).max() == 1
