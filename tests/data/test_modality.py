import cv2
import numpy as np
import pytest

from segmentation.data.modality import kind_of


def blobs(seed, radius=9, number=30, shape=(300, 400)):
    """Coverage of drawn nuclei, (H, W) float32 in [0, 1], with soft edges."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros(shape, np.float32)
    for x, y in rng.integers(0, shape[::-1], (number, 2)):
        cv2.circle(canvas, (int(x), int(y)), radius, 1, -1)
    return cv2.GaussianBlur(canvas, (0, 0), 1.5)


def noisy(image, seed=0):
    return np.clip(image + np.random.default_rng(seed).normal(0, 0.01, image.shape), 0, 1).astype(np.float32)


def fluorescence(seed, tint=(1, 1, 1), **options):
    return noisy((0.03 + 0.6 * blobs(seed, **options))[..., None] * np.array(tint))


def on_light(seed, background, nucleus, **options):
    amount = blobs(seed, **options)[..., None]
    return noisy(np.array(background) * (1 - amount) + np.array(nucleus) * amount)


CASES = {
    "grey on black": (fluorescence(0), "fluorescence"),
    "one nucleus": (fluorescence(1, number=1), "fluorescence"),
    "crowded": (fluorescence(2, number=130), "fluorescence"),
    "blue on black": (fluorescence(3, tint=(0.05, 0.1, 1)), "fluorescence"),
    "green on black, crowded": (fluorescence(4, tint=(0, 1, 0), number=150), "fluorescence"),
    "purple on lilac": (on_light(5, (0.75, 0.65, 0.8), (0.35, 0.2, 0.5)), "stained"),
    "purple on white": (on_light(6, (0.95, 0.95, 0.95), (0.4, 0.2, 0.6), number=60), "stained"),
    "pink tissue": (on_light(7, (0.9, 0.6, 0.75), (0.4, 0.25, 0.55), number=90), "stained"),
    "grey on light": (on_light(8, (0.9,) * 3, (0.3,) * 3), "smear"),
    "tiny and dark on light": (on_light(9, (0.88,) * 3, (0.2,) * 3, radius=3, number=5), "smear"),
}


@pytest.mark.parametrize("name", CASES)
def test_kind_at_every_depth_and_number_of_channels(name):
    pixels, expected = CASES[name]
    versions = [
        np.uint8(255 * pixels),
        np.uint16(65535 * pixels),
        np.uint16(4095 * pixels),  # 12 bits in 16
        pixels,
        1000 * pixels,
        np.pad(np.uint8(255 * pixels), ((0, 900), (0, 1200), (0, 0)), mode="wrap"),
    ]
    if np.ptp(pixels, axis=2).max() < 0.1:
        versions += [version[..., :1] for version in versions] + [versions[0][..., 0]]
    assert {kind_of(version) for version in versions} == {expected}


def test_a_dark_field_without_nuclei_is_no_brightfield():
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(20, 3, (256, 256, 1))
        assert kind_of(noise.astype(np.uint8)) == kind_of(noise.astype(np.float32)) == "fluorescence"


def test_floats_below_zero_and_flat_pictures():
    assert kind_of(fluorescence(0) - 0.1) == "fluorescence"
    assert kind_of(np.zeros((5, 5, 1), np.uint8)) == kind_of(np.full((1, 1, 3), 255, np.uint8)) == "fluorescence"
