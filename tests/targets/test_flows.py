import cv2
import numpy as np
import pytest

from segmentation.targets import flows
from segmentation.targets.flows import decode, encode
from segmentation.targets.geometry import measure_nuclei
from tests.targets.label_maps import LABEL_MAPS, draw_disks, overlaps

STEPS = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]


def spread(own, centre, steps=None):
    """Heat in one nucleus, (H, W): after steps of Cellpose's diffusion, or after infinitely many."""
    pixels = [tuple(pixel) for pixel in np.argwhere(own)]
    number = {pixel: index for index, pixel in enumerate(pixels)}
    mean = np.zeros((len(pixels), len(pixels)))
    for pixel, index in number.items():
        for down, across in STEPS:
            other = number.get((pixel[0] + down, pixel[1] + across))
            if other is not None:
                mean[index, other] = 1 / 9
    source = np.zeros(len(pixels))
    source[number[centre]] = 1
    if steps is None:
        warm = np.linalg.solve(np.eye(len(pixels)) - mean, mean @ source)
    else:
        warm = np.zeros(len(pixels))
        for _ in range(steps):
            warm = mean @ (warm + source)
        warm = np.log1p(warm)
    heat = np.zeros(own.shape)
    heat[own] = warm
    return heat


def directions(label_map, steps=None):
    """Unit vectors up the slope of the heat, nucleus by nucleus; those of Cellpose if steps are given."""
    result = np.zeros((*label_map.shape, 2))
    nuclei = measure_nuclei(label_map)
    for row, column in sorted(set(zip(nuclei.centre_rows, nuclei.centre_columns, strict=True))):
        own = np.pad(label_map == label_map[row, column], 1)
        heat = spread(own, (row + 1, column + 1), steps and 2 * int(sum(np.ptp(np.argwhere(own), axis=0)) + 2))
        slope = np.stack([heat[2:, 1:-1] - heat[:-2, 1:-1], heat[1:-1, 2:] - heat[1:-1, :-2]], axis=-1)
        length = np.linalg.norm(slope, axis=-1, keepdims=True)
        unit = np.where(length > 1e-9 * heat.max(), slope / np.maximum(length, 1e-300), 0)
        unit[row, column] = 0
        result[own[1:-1, 1:-1]] = unit[own[1:-1, 1:-1]]
    return result


def angles(one, other):
    """Degrees between the vectors where both have a direction."""
    both = one.any(axis=-1) & other.any(axis=-1)
    return np.degrees(np.arccos(np.clip((one[both] * other[both]).sum(axis=-1), -1, 1)))


@pytest.mark.parametrize("name", ["touching_disks", "squeezed_disks", "crescent", "cut_by_the_edge"])
def test_against_solving_nucleus_by_nucleus(name):
    label_map = LABEL_MAPS[name]()
    assert angles(encode(label_map)[..., 1:], directions(label_map)).max() < 1


@pytest.mark.parametrize("name, median, nearly_all", [("touching_disks", 1, 4), ("squeezed_disks", 2, 6)])
def test_they_are_nearly_those_of_cellpose(name, median, nearly_all):
    label_map = LABEL_MAPS[name]()
    found = angles(encode(label_map)[..., 1:], directions(label_map, steps=True))
    assert np.median(found) < median and np.percentile(found, 95) < nearly_all


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_unit_vectors_but_at_the_centres(name):
    label_map = LABEL_MAPS[name]()
    encoded = encode(label_map)
    assert encoded.shape == (*label_map.shape, 3) and encoded.dtype == np.float32
    assert np.array_equal(encoded[..., 0], label_map > 0)
    assert not encoded[label_map == 0].any()
    length = np.linalg.norm(encoded[label_map > 0, 1:], axis=-1)
    level = length < 0.5
    np.testing.assert_allclose(length[~level], 1, atol=1e-5)
    assert not length[level].any()
    nuclei = measure_nuclei(label_map)
    if name != "one_nucleus_in_two_pieces":  # each has a centre
        assert not encoded[nuclei.centre_rows, nuclei.centre_columns, 1:].any()


def test_a_disk_is_known_by_heart():
    encoded = encode(draw_disks((41, 61), (20, 30, 16)))
    assert flows.channels == ("foreground", "row_flow", "column_flow")
    np.testing.assert_allclose(encoded[8, 30], [1, 1, 0], atol=1e-5)  # above the centre: down
    np.testing.assert_allclose(encoded[20, 42], [1, 0, -1], atol=1e-5)
    np.testing.assert_allclose(encoded[12, 22], [1, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-5)


def test_a_line_too_long_for_heat_to_reach_its_ends_is_encoded():
    encoded = encode(np.ones((1, 900), np.int32))
    assert np.isfinite(encoded).all()
    assert encoded[0, 400, 2] == 1 and encoded[0, 500, 2] == -1


def step_by_step(predicted, steps):
    """Where each foreground pixel is after some steps along the flow of the nearest pixel."""
    foreground = predicted[..., 0] > 0.5
    places = np.argwhere(foreground).astype(float)
    for _ in range(steps):
        nearest = np.rint(places).astype(int).clip(0, np.array(foreground.shape) - 1)
        flow = predicted[nearest[:, 0], nearest[:, 1], 1:] * foreground[nearest[:, 0], nearest[:, 1], None]
        places += flow / np.maximum(np.linalg.norm(flow, axis=-1, keepdims=True), 0.5)
    return foreground, places


@pytest.mark.parametrize("name", ["touching_disks", "crescent", "fluorescence_2", "stained_3"])
def test_pixels_end_where_step_after_step_leads_them(name, monkeypatch):
    gathered = {}
    gather = flows.gather_votes
    monkeypatch.setattr(
        flows,
        "gather_votes",
        lambda foreground, votes, *rest: gathered.update(votes=votes) or gather(foreground, votes, *rest),
    )
    predicted = encode(LABEL_MAPS[name]())
    decode(predicted)
    _, places = step_by_step(predicted, 256)
    missed = np.linalg.norm(gathered["votes"] - places, axis=-1)
    assert np.percentile(missed, 99) < 1.5


def test_foreground_is_above_the_threshold_alone():
    encoded = encode(draw_disks((20, 20), (10, 10, 6)))
    encoded[..., 0] *= 0.5
    assert not decode(encoded).any()  # 0.5 is not greater than 0.5
    assert np.array_equal(decode(encoded, foreground=0.49) > 0, encoded[..., 0] > 0)


@pytest.mark.parametrize("seed", range(5))
def test_blurred_and_noisy_flows_still_give_each_nucleus(seed):
    rng = np.random.default_rng(seed)
    label_map = draw_disks((160, 200), *[(20 + 24 * i, 20 + 22 * j, 13) for i in range(5) for j in range(7)])
    predicted = encode(label_map)
    for channel in (1, 2):
        noise = cv2.GaussianBlur(rng.normal(size=label_map.shape), (0, 0), 1.0)
        predicted[..., channel] = cv2.GaussianBlur(predicted[..., channel], (0, 0), 1.5) + 0.7 * noise
    decoded = decode(predicted)
    assert decoded.max() == 35 and np.array_equal(decoded > 0, label_map > 0)
    assert overlaps(label_map, decoded).max(axis=1).min() > 0.75


def test_a_few_pixels_that_stay_where_they_are_are_no_nucleus():
    label_map = draw_disks((60, 60), (30, 30, 20))
    predicted = encode(label_map)
    predicted[29:32, 49:51, 1:] = 0
    assert np.array_equal(decode(predicted), label_map)


def test_flows_of_any_length_and_outside_the_foreground():
    label_map = draw_disks((40, 60), (20, 18, 12), (20, 42, 12))
    predicted = encode(label_map)
    predicted[..., 1:] *= 1e4
    predicted[label_map == 0, 1:] = 7
    assert (overlaps(label_map, decode(predicted)).max(axis=1) > 0.95).all()


def test_no_flow_at_all_leaves_the_foreground_labelled():
    label_map = draw_disks((40, 40), (10, 10, 6), (30, 30, 6))
    predicted = encode(label_map)
    predicted[..., 1:] = 0
    assert np.array_equal(decode(predicted) > 0, label_map > 0)
