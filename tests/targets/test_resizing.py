import numpy as np
import pytest

from segmentation.targets.encodings import ENCODINGS
from tests.targets.label_maps import LABEL_MAPS, draw_disks, overlaps

every_encoding = pytest.mark.parametrize("targets", ENCODINGS.values(), ids=ENCODINGS)
every_separating_encoding = pytest.mark.parametrize(
    "targets",
    [encoding for name, encoding in ENCODINGS.items() if name != "foreground"],
    ids=lambda targets: targets.name,
)


@every_encoding
def test_the_same_size_changes_nothing(targets):
    channels = np.random.default_rng(0).normal(size=(17, 23, len(targets.channels))).astype(np.float32)
    kept = channels.copy()
    np.testing.assert_allclose(targets.resize(channels, (17, 23)), kept, atol=1e-6)
    np.testing.assert_array_equal(channels, kept)


@every_encoding
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_resized_channels_are_those_of_the_resized_disk(targets, factor):
    """Both ways: what was encoded at one size is, inside the disk, what is encoded at the other."""
    small = targets.encode(draw_disks((41, 51), (20, 25, 15)))
    large = targets.encode(
        draw_disks((41 * factor, 51 * factor), (20.5 * factor - 0.5, 25.5 * factor - 0.5, 15.3 * factor))
    )
    enlarged, shrunk = targets.resize(small, large.shape[:2]), targets.resize(large, small.shape[:2])
    lengths = list(targets.log_lengths)
    others = [channel for channel in range(len(targets.channels)) if channel not in lengths]
    for found, expected, radius in ((enlarged, large, 13 * factor), (shrunk, small, 13)):
        rows, columns = np.indices(found.shape[:2])
        middle = (np.array(found.shape[:2]) - 1) / 2
        from_middle = np.hypot(rows - middle[0], columns - middle[1])
        inside = from_middle < radius
        np.testing.assert_allclose(found[inside][:, others], expected[inside][:, others], atol=0.08)
        np.testing.assert_allclose(found[inside][:, lengths], expected[inside][:, lengths], atol=0.05)


@every_separating_encoding
@pytest.mark.parametrize("name", ["fluorescence_0", "fluorescence_4", "stained_1"])
@pytest.mark.parametrize("factor", [2, 3])
def test_enlarged_channels_decode_to_the_enlarged_label_map(targets, name, factor):
    if (targets.name, name) == ("touching_border", "fluorescence_3"):
        pytest.skip("holds a nucleus with a waist that comes out as two at its own size, too")
    label_map = LABEL_MAPS[name]()
    label_map = np.where(np.isin(label_map, np.flatnonzero(np.bincount(label_map.ravel()) >= 60)), label_map, 0)
    shape = (label_map.shape[0] * factor, label_map.shape[1] * factor)
    decoded = targets.decode(targets.resize(targets.encode(label_map), shape))
    truth = np.kron(label_map, np.ones((factor, factor), np.int32))
    best = overlaps(truth, decoded).max(axis=1)
    assert np.mean(best > 0.9) > 0.95
    assert best.min() > 0.6
    assert decoded.max() == len(best)


@every_encoding
def test_the_median_diameter_is_that_of_the_nuclei_that_fill_most_of_the_foreground(targets):
    label_map = draw_disks((120, 200), (40, 40, 30), (60, 120, 25), *[(110, 10 + 12 * i, 3) for i in range(12)])
    assert targets.median_diameter(targets.encode(label_map), 0.5) == pytest.approx(60, rel=0.03)
    enlarged = targets.resize(targets.encode(label_map), (240, 400))
    assert targets.median_diameter(enlarged, 0.5) == pytest.approx(120, rel=0.03)


@every_encoding
@pytest.mark.parametrize("radius", [4, 9, 20, 45])
def test_the_median_diameter_of_one_disk_is_its_own(targets, radius):
    label_map = draw_disks((2 * radius + 20, 2 * radius + 30), (radius + 10, radius + 12, radius))
    assert targets.median_diameter(targets.encode(label_map), 0.5) == pytest.approx(2 * radius, rel=0.12)


@every_encoding
def test_without_foreground_there_is_no_diameter(targets):
    assert targets.median_diameter(targets.encode(np.zeros((20, 20), np.int32)), 0.5) is None
