"""Draw synthetic images of nuclei with their label maps, so that everything runs without a download.

    python data/draw_samples.py [FOLDER]

writes `FOLDER/train` and `FOLDER/test` (default: `data/sample`), each with `images/` beside `masks/`.

They are for demonstrations and tests: scores on them say nothing about real images.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

SAMPLE_SEED = 2018
_TRAINING_SHAPES = [(256, 256)] * 24
_TEST_SHAPES = [(256, 256), (256, 320), (384, 512), (260, 347), (360, 360), (256, 320), (320, 256), (256, 256)]

# Optical density of the two dyes in red, green and blue (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23, 2001).
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])


@dataclass(frozen=True)
class _Layout:
    """How the nuclei of one image are shaped and placed.

    Attributes
    ----------
    radius : float
        Median radius in pixels.
    size_spread : float
        Standard deviation of the logarithm of the radius.
    coverage : float
        Fraction of the image that nuclei may cover, in [0, 1].
    clustering : float
        Fraction of nuclei that are placed against another one.
    roughness : float
        Amplitude of the harmonics in the outline, relative to the radius.
    """

    radius: float
    size_spread: float
    coverage: float
    clustering: float
    roughness: float


def draw_fluorescence(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw bright nuclei on a dark background.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width in pixels.

    Returns
    -------
    image : (H, W) ndarray of uint8
    labels : (H, W) ndarray of uint16
        0 is background, 1..n are the nuclei; n >= 1.
    """
    layout = _Layout(
        radius=float(np.exp(rng.uniform(np.log(6.5), np.log(19)))),
        size_spread=rng.uniform(0.10, 0.25),
        coverage=rng.uniform(0.10, 0.32),
        clustering=rng.uniform(0.2, 0.7),
        roughness=rng.uniform(0.03, 0.08),
    )
    labels, depth = _place_nuclei(rng, shape, layout)
    count = int(labels.max())

    # A nucleus is a flattened ball of chromatin: thicker, so brighter, in the middle.
    brightness = _per_nucleus(np.exp(rng.normal(0, rng.uniform(0.15, 0.40), count)), labels)
    chromatin = _chromatin(rng, shape, layout.radius, grain=rng.uniform(0.10, 0.30))
    nuclei = brightness * (0.75 + 0.35 * np.sqrt(depth)) * chromatin * (labels > 0)

    signal = _blur(nuclei, rng.uniform(0.7, 1.3) + 0.02 * layout.radius)
    # Out-of-focus light surrounds every nucleus with a faint halo.
    signal += rng.uniform(0.02, 0.12) * _blur(nuclei, 1.2 * layout.radius)
    signal += _out_of_focus(rng, shape, layout.radius) * rng.uniform(0.05, 0.25)
    background = rng.uniform(0.02, 0.12) * (1 + 0.4 * _smooth_noise(rng, shape, 60))
    signal = (signal + background) * _uneven_light(rng, shape, rng.uniform(0.05, 0.35))

    # Many images use a part of the 8 bits only, so the brightest nuclei are at 60 to 245.
    peak = np.percentile(signal, 99.8)
    grey = signal / peak * np.exp(rng.uniform(np.log(60), np.log(245)))
    return _to_uint8(
        _add_noise(rng, grey, photons_per_grey=rng.uniform(2, 10), read_noise=rng.uniform(0.5, 1.6))
    ), labels


def draw_stained(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw stained nuclei on light tissue: purple on lilac, purple on white, or pink haematoxylin and eosin.

    Intensity follows the law of Beer and Lambert: 255 * exp(-optical density).

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width in pixels.

    Returns
    -------
    image : (H, W, 3) ndarray of uint8
        RGB.
    labels : (H, W) ndarray of uint16
        0 is background, 1..n are the nuclei; n >= 1.
    """
    layout = _Layout(
        radius=rng.uniform(9, 17),
        size_spread=rng.uniform(0.15, 0.30),
        coverage=rng.uniform(0.15, 0.32),
        clustering=rng.uniform(0.3, 0.7),
        roughness=rng.uniform(0.05, 0.11),
    )
    labels, depth = _place_nuclei(rng, shape, layout)
    count = int(labels.max())

    # Dense nuclei are nearly uniform; pale ones have a dark membrane and visible clumps of chromatin.
    density = _per_nucleus(rng.uniform(0.55, 1.25, count), labels)
    membrane = np.exp(-depth * layout.radius / 2.0)
    chromatin = _chromatin(rng, shape, layout.radius, grain=0.40)
    nuclei = density * (chromatin + rng.uniform(0.2, 0.5) * membrane) * (labels > 0)
    nuclei = _blur(nuclei, rng.uniform(0.7, 1.1)) + 0.5 * _blur(nuclei, 0.5 * layout.radius) * rng.uniform(0.1, 0.4)

    tissue = _tissue(rng, shape)
    nuclear_dye, tissue_dye, tissue_amount = _staining(rng)
    hazy = 0.25 * _out_of_focus(rng, shape, layout.radius)
    optical_density = (nuclei + hazy)[..., None] * nuclear_dye + (tissue_amount * tissue)[..., None] * tissue_dye
    optical_density += rng.uniform(0.03, 0.10)

    light = 255 * np.exp(-optical_density) * _uneven_light(rng, shape, rng.uniform(0.02, 0.12))[..., None]
    noisy = _add_noise(rng, light, photons_per_grey=60, read_noise=1.0)
    # Cameras interpolate between their colour filters, which smooths the noise.
    return _to_uint8(ndimage.gaussian_filter(noisy, (0.6, 0.6, 0))), labels


def write_sample(folder: Path | str, seed: int = SAMPLE_SEED) -> None:
    """Write the sample data set: `train` and `test`, each with `images/` beside `masks/` of equal stems.

    Every third image is stained, the others are fluorescence. Masks are 16-bit label maps.

    Parameters
    ----------
    folder : Path
        Made where it does not exist. Files of the same names are overwritten.
    seed : int
        Each image has its own generator, from the seed, the subset and its number.
    """
    for subset_number, (subset, shapes) in enumerate([("train", _TRAINING_SHAPES), ("test", _TEST_SHAPES)]):
        images, masks = Path(folder) / subset / "images", Path(folder) / subset / "masks"
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        for number, shape in enumerate(shapes, 1):
            rng = np.random.default_rng([seed, subset_number, number])
            stained = number % 3 == 0
            image, labels = draw_stained(rng, shape) if stained else draw_fluorescence(rng, shape)
            name = f"{'stained' if stained else 'fluorescence'}_{number:02d}.png"
            _write_png(images / name, image)
            _write_png(masks / name, labels)


def _place_nuclei(rng: np.random.Generator, shape: tuple[int, int], layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    """Place nuclei until the coverage is reached or no more nuclei fit.

    Returns
    -------
    labels : (H, W) ndarray of uint16
    depth : (H, W) ndarray of float64
        0 at the outline of a nucleus and in the background, 1 at its centre.
    """
    labels = np.zeros(shape, np.uint16)
    depth = np.zeros(shape)
    centres = []
    to_cover = layout.coverage * labels.size
    # Four attempts for each nucleus that is needed; then the image counts as full.
    for _ in range(20 + int(4 * to_cover / (np.pi * layout.radius**2))):
        radius = layout.radius * np.exp(rng.normal(0, layout.size_spread))
        if centres and rng.random() < layout.clustering:
            neighbour = centres[rng.integers(len(centres))]
            angle = rng.uniform(0, 2 * np.pi)
            distance = (neighbour[2] + radius) * rng.uniform(0.80, 1.02)
            row, column = neighbour[0] + distance * np.sin(angle), neighbour[1] + distance * np.cos(angle)
        else:
            # Also outside the image, so that its edge cuts some nuclei.
            row, column = rng.uniform(-0.5 * radius, np.array(shape) + 0.5 * radius)
        rows, columns, nucleus_depth = _nucleus(rng, shape, row, column, radius, layout.roughness)
        inside = nucleus_depth > 0
        free = inside & (labels[rows, columns] == 0)
        # Accept one connected piece of which most is visible, and no sliver at the edge of the image.
        if free.sum() < max(12, 0.75 * inside.sum()) or ndimage.label(free)[1] != 1:
            continue
        centres.append((row, column, radius))
        labels[rows, columns][free] = len(centres)
        depth[rows, columns][free] = nucleus_depth[free]
        if (labels > 0).sum() >= to_cover:
            break
    return labels, depth


def _nucleus(
    rng: np.random.Generator, shape: tuple[int, int], row: float, column: float, radius: float, roughness: float
) -> tuple[slice, slice, np.ndarray]:
    """Draw one nucleus: an ellipse whose radius is modulated by the harmonics 2 to 5 of the angle.

    Return the two slices of its box in the image and the depth in the box: 0 outside, up to 1 at the centre.
    """
    elongation = np.exp(np.abs(rng.normal(0, 0.35)))
    direction = rng.uniform(0, np.pi)
    harmonics = np.arange(2, 6)
    amplitudes = roughness * rng.normal(size=4) / (harmonics - 1)
    phases = rng.uniform(0, 2 * np.pi, 4)

    reach = radius * np.sqrt(elongation) * (1 + np.abs(amplitudes).sum()) + 1
    rows = slice(*np.clip([int(row - reach), int(row + reach) + 2], 0, shape[0]))
    columns = slice(*np.clip([int(column - reach), int(column + reach) + 2], 0, shape[1]))
    y, x = np.mgrid[rows, columns].astype(float)
    y, x = y - row, x - column
    along = (np.cos(direction) * x + np.sin(direction) * y) / np.sqrt(elongation)
    across = (np.cos(direction) * y - np.sin(direction) * x) * np.sqrt(elongation)
    angle = np.arctan2(across, along)
    outline = radius * (1 + (amplitudes * np.cos(harmonics * angle[..., None] + phases)).sum(-1))
    return rows, columns, np.maximum(0, 1 - np.hypot(along, across) / outline)


def _chromatin(rng: np.random.Generator, shape: tuple[int, int], radius: float, grain: float) -> np.ndarray:
    """Texture of chromatin around 1: fine grain, coarser clumps, and a few dark nucleoli."""
    fine = _smooth_noise(rng, shape, 1.2)
    clumps = _smooth_noise(rng, shape, radius / 4)
    nucleoli = np.clip(_smooth_noise(rng, shape, radius / 5) - 1.4, 0, 1)
    return np.clip(1 + grain * (0.4 * fine + 0.6 * clumps) - 2 * grain * nucleoli, 0.15, None)


def _tissue(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Cytoplasm and fibres between the nuclei, in [0, 1.5], with empty gaps."""
    cytoplasm = 0.75 + 0.15 * _smooth_noise(rng, shape, 25) + 0.06 * _smooth_noise(rng, shape, 2)
    # The zero crossings of smooth noise are thin curved lines that look like fibres and cell borders.
    fibres = _blur(np.exp(-((_smooth_noise(rng, shape, 12) / 0.15) ** 2)), 1)
    gaps = _blur((_smooth_noise(rng, shape, 22) > rng.uniform(0.9, 2.2)).astype(float), 1.5)
    return np.clip((cytoplasm + 0.35 * fibres) * (1 - 0.85 * gaps), 0, 1.5)


def _staining(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the optical densities (red, green, blue) of nuclear and tissue dye, and the amount of the latter."""
    style = rng.integers(3)
    variation = 1 + 0.08 * rng.normal(size=3)
    if style == 0:  # purple on lilac
        return np.array([0.95, 1.30, 0.35]) * variation, np.array([0.32, 0.52, 0.16]), rng.uniform(0.55, 0.95)
    if style == 1:  # purple on white
        return np.array([0.75, 1.35, 0.55]) * variation, np.array([0.30, 0.40, 0.25]), rng.uniform(0.10, 0.25)
    return 1.35 * _HAEMATOXYLIN * variation, _EOSIN + 0.12 * _HAEMATOXYLIN, rng.uniform(0.30, 0.60)


def _out_of_focus(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Dim, blurred nuclei of another focal plane, at most about 1; they are not in the label map."""
    layout = _Layout(radius, size_spread=0.3, coverage=rng.uniform(0, 0.05), clustering=0, roughness=0.05)
    labels, _ = _place_nuclei(rng, shape, layout)
    return _blur((labels > 0).astype(float), 0.45 * radius)


def _uneven_light(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> np.ndarray:
    """Illumination around 1 that falls off from a bright spot, by `strength` over half a diagonal."""
    centre = rng.uniform(0.2, 0.8, 2) * shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y - centre[0], x - centre[1]) / (0.5 * np.hypot(*shape))
    return 1 + 0.5 * strength - strength * distance**2


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussian noise of correlation length `sigma` pixels, with mean 0 and variance 1."""
    noise = _blur(rng.normal(size=shape), sigma)
    return (noise - noise.mean()) / noise.std()


def _add_noise(rng: np.random.Generator, grey: np.ndarray, photons_per_grey: float, read_noise: float) -> np.ndarray:
    """Photon and read-out noise.

    Photon counts follow the normal approximation of the Poisson distribution: one draw a pixel at any intensity, so
    that rounding differences between machines cannot shift all later draws.
    """
    spread = np.sqrt(np.maximum(grey, 0) / photons_per_grey + read_noise**2)
    return grey + spread * rng.normal(size=grey.shape)


def _per_nucleus(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Spread one value a nucleus over its pixels; 0 in the background."""
    return np.concatenate([[0.0], values])[labels]


def _blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(pixels, sigma)


def _to_uint8(grey: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _write_png(file: Path, pixels: np.ndarray) -> None:
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    file.write_bytes(encoded.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the sample images of nuclei and their label maps.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/sample"), help="default: data/sample")
    write_sample(parser.parse_args().folder)


if __name__ == "__main__":
    main()
