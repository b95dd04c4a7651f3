import time

import cv2
import numpy as np
import pytest

from segmentation.data.fingerprints import fingerprint
from segmentation.data.groups import find_groups


def field(seed, shape=(200, 260)):
    """A crowded picture of nuclei on a dark, noisy background, (H, W) float32."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros(shape, np.float32)
    for x, y in rng.integers(0, shape[::-1], (shape[0] * shape[1] // 400, 2)):
        cv2.circle(canvas, (int(x), int(y)), int(rng.integers(4, 9)), float(rng.uniform(60, 200)), -1)
    return cv2.GaussianBlur(canvas, (0, 0), 2.5) + 10 + rng.normal(0, 1, shape).astype(np.float32)


def as_bytes(pixels):
    return np.clip(pixels, 0, 255).astype(np.uint8)[..., None]


def groups_of(pictures):
    found = find_groups({name: fingerprint(pixels) for name, pixels in pictures.items()})
    assert found.keys() == pictures.keys()
    return found


def test_tiles_of_one_field_are_found_and_others_are_not():
    pictures, truth = {}, {}
    for number in range(12):
        whole = as_bytes(field(number, (400, 400)))
        tiles = (whole[:200, :200], whole[:200, 200:], whole[200:, :200], whole[200:, 200:])
        for place, tile in enumerate(tiles if number % 3 else tiles[:1]):
            name = f"{place}{number}"
            pictures[name], truth[name] = tile, number
    found = groups_of(pictures)
    together = {(a, b): found[a] == found[b] for a in pictures for b in pictures}
    assert together == {(a, b): truth[a] == truth[b] for a in pictures for b in pictures}
    assert found[min(pictures)] == "0" and set(found.values()) == {str(number) for number in range(12)}


def test_near_duplicates_share_a_group():
    whole = field(0)
    again = as_bytes(np.roll(whole, 2, axis=1) * 1.1 + np.random.default_rng(1).normal(0, 3, whole.shape))
    found = groups_of({"a": as_bytes(whole), "b": again, "c": as_bytes(field(2))})
    assert found == {"a": "0", "b": "0", "c": "1"}


@pytest.mark.parametrize("background", [0.0, 3.0])
def test_flat_edges_are_no_evidence(background):
    """A black frame, exact or with a single bright dot of noise at the same place, fits on every other."""
    pictures = {}
    for number in range(6):
        pixels = as_bytes(field(number))
        pixels[[0, -1]] = background
        pixels[:, [0, -1]] = background
        pixels[:, [0, -1]] += (np.arange(200) == 77).astype(np.uint8)[:, None, None]
        pictures[str(number)] = pixels
    assert len(set(groups_of(pictures).values())) == 6


def test_shading_that_all_pictures_share_is_no_evidence():
    """The profile of a lamp, far above the noise, correlates from picture to picture."""
    rows, columns = np.mgrid[-1:1:200j, -1:1:260j]
    shading = 220 - 120 * (rows**2 + columns**2) / 2
    pictures = {}
    for number in range(6):
        noise = np.random.default_rng(number).normal(0, 2, shading.shape)
        pictures[str(number)] = as_bytes(shading + noise - 0.05 * (field(number) - 10))
    edges = [fingerprint(pixels) for pixels in pictures.values()]
    assert np.corrcoef(edges[0].right, edges[1].left)[0, 1] > 0.97
    assert len(set(groups_of(pictures).values())) == 6


def test_size_and_kind_keep_pictures_apart():
    whole = as_bytes(field(0))
    assert len(set(groups_of({"a": whole[:, :100], "b": whole[:, 100:]}).values())) == 2
    assert len(set(groups_of({"a": whole[:, :130], "b": whole[:, 130:]}).values())) == 1
    assert len(set(groups_of({"a": whole, "b": 255 - whole}).values())) == 2


def test_an_image_is_not_its_own_neighbour_and_none_is_no_error():
    assert groups_of({"a": as_bytes(field(0))}) == {"a": "0"}
    assert find_groups({}) == {}
    flat = np.zeros((1, 1, 3), np.uint8)
    assert groups_of({"a": flat, "b": flat + 1}) == {"a": "0", "b": "1"}


def test_six_hundred_images_take_seconds():
    marks = [fingerprint(as_bytes(field(number))) for number in range(20)]
    start = time.perf_counter()
    found = find_groups({f"{number:03d}": marks[number % 20] for number in range(660)})
    assert time.perf_counter() - start < 5
    assert len(set(found.values())) == 20


def test_digests_tell_pictures_apart_and_not_their_files():
    pixels = as_bytes(field(0))
    other = pixels.copy()
    other[3, 3] ^= 1
    assert fingerprint(pixels).digest == fingerprint(pixels[:, ::-1][:, ::-1]).digest
    digests = {fingerprint(p).digest for p in (pixels, other, pixels.astype(np.uint16), pixels.reshape(260, 200, 1))}
    assert len(digests) == 4
