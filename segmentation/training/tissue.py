"""Draw what stained tissue is made of, as densities of a dye: nuclei, the tissue around them, red blood cells."""

import cv2
import numpy as np
from scipy import ndimage


def draw_nuclei(image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the density of stained nuclei, (H, W) float32 from 0 to about 1, where a fluorescence crop has nuclei.

    Nuclei differ in strength. Each has a chromatin of clumps and its own signal, a core that may be pale and a rim.
    """
    if not label_map.any():
        return np.zeros(label_map.shape, np.float32)
    labels = np.arange(count_labels(label_map))
    strengths = np.exp(rng.normal(0, rng.uniform(0, 0.7), len(labels))).clip(0.15, 1.5).astype(np.float32)
    strengths[0] = 0
    is_inside = (label_map > 0) & ~_is_border(label_map)
    depth = _distance(is_inside)
    radii = np.maximum(ndimage.maximum(depth, label_map, labels), 1).astype(np.float32)
    radius = float(np.median(radii[np.unique(label_map[label_map > 0])]))

    signal = image.mean(axis=-1, dtype=np.float32)
    pixels = np.bincount(label_map.ravel())
    means = np.maximum(np.bincount(label_map.ravel(), signal.ravel()) / np.maximum(pixels, 1), 1).astype(np.float32)
    own = (signal / means[label_map]).clip(0.3, 2) ** rng.uniform(0, 1)
    clumps = draw_noise(rng, label_map.shape, max(radius * rng.uniform(0.15, 0.6), 1.5))
    fine = draw_noise(rng, label_map.shape, rng.uniform(1.5, 3))
    texture = 1 + 0.5 * rng.random() * rng.random() * clumps + rng.uniform(0, 0.3) * fine
    nucleoli = rng.uniform(0, 0.8) * np.maximum(clumps - 1.2, 0)
    # Each nucleus is pale inside on its own: dense lymphocytes lie beside large nuclei with little chromatin.
    paleness = (rng.uniform(0, 0.85) * rng.random(len(labels))).astype(np.float32)
    core = np.minimum(depth / (0.5 * radii[label_map]), 1)
    density = own * texture * (1 - paleness[label_map] * core) + nucleoli
    density[_is_border(label_map)] *= rng.uniform(0.5, 1)
    return cv2.GaussianBlur(strengths[label_map] * density.clip(0.1, 2.5), (0, 0), rng.uniform(0.5, 1 + 0.06 * radius))


def draw_tissue(label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the density of the tissue around nuclei, (H, W) float32 from 0 to about 1.

    It is clouded, has fibres, cytoplasm around nuclei, and holes away from them.
    """
    shape = label_map.shape
    away = _distance(label_map == 0)
    radius = median_diameter(label_map) / 2 or rng.uniform(5, 20)
    tissue = 0.5 + rng.uniform(0, 0.25) * draw_noise(rng, shape, rng.uniform(2, 5) * radius)
    tissue += rng.uniform(0, 0.12) * draw_noise(rng, shape, rng.uniform(2, 5))
    if rng.random() < 0.6:
        fibres = draw_fibres(rng, shape, radius)
        tissue += rng.uniform(0.05, 0.4) * fibres
        if rng.random() < 0.4:  # loose ones, with nothing in between
            tissue *= 1 - soften((fibres < rng.uniform(0.1, 0.7)) & (away > rng.uniform(0, 4)))
    if rng.random() < 0.5:
        tissue += rng.uniform(0, 0.4) * np.exp(-away / (rng.uniform(0.3, 1.2) * radius))
    if rng.random() < 0.6:
        holes = draw_noise(rng, shape, np.exp(rng.uniform(*np.log((0.5, 6)))) * radius)
        tissue *= 1 - rng.uniform(0.5, 1) * soften((holes > rng.uniform(-1, 1.5)) & (away > rng.uniform(0, 6)))
    return tissue.clip(0, 2)


def draw_red_cells(label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the density of red blood cells, (H, W) float32 from 0 to 1, where nuclei leave room."""
    drawn, away = np.zeros(label_map.shape, np.float32), _distance(label_map == 0)
    size = max((median_diameter(label_map) / 2 or 10) * rng.uniform(0.5, 0.9), 2)
    where = rng.integers(0, away.shape, (rng.integers(3, 60), 2))
    for row, column in where[away[tuple(where.T)] > size]:
        axes = tuple(np.maximum(np.rint(size * rng.uniform(0.75, 1.15, 2)), 1).astype(int).tolist())
        cv2.ellipse(drawn, (int(column), int(row)), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.6, 1), -1)
    return cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.5, 1.2))


def draw_fibres(rng: np.random.Generator, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Draw wavy bundles of fibres in one direction, (H, W) float32 from 0 to 1."""
    side = 2 * max(shape)
    ridges = draw_noise(rng, (side, side // 8), rng.uniform(2, 8))
    lines = 1 - np.abs(cv2.resize(ridges, (side, side), interpolation=cv2.INTER_CUBIC)).clip(0, 1)
    bend = rng.uniform(0, radius) * draw_noise(rng, shape, 4 * radius)
    angle = rng.uniform(0, np.pi)
    rows, columns = np.indices(shape, np.float32)
    along = np.float32(np.cos(angle)) * columns + np.float32(np.sin(angle)) * rows
    across = np.float32(np.cos(angle)) * rows - np.float32(np.sin(angle)) * columns + bend
    return cv2.remap(lines, along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def draw_noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Draw smooth noise of about unit variance, (H, W) float32, whose spots are `grain` pixels wide."""
    rows, columns = (max(round(length / grain), 1) + 3 for length in shape)
    coarse = rng.standard_normal((rows, columns), np.float32)
    size = (round(shape[1] * columns / (columns - 3)), round(shape[0] * rows / (rows - 3)))
    fine = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    top, left = (fine.shape[0] - shape[0]) // 2, (fine.shape[1] - shape[1]) // 2
    return 1.17 * fine[top : top + shape[0], left : left + shape[1]]


def median_diameter(label_map: np.ndarray) -> float:
    """Return the median diameter of the nuclei of a label map, in pixels, as of disks of their areas; 0 without any."""
    areas = np.bincount(label_map.ravel())[1:]
    return float(2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)) if areas.any() else 0.0


def count_labels(label_map: np.ndarray) -> int:
    """Return the number of values of a label map, 0 included."""
    return int(label_map.max()) + 1


def soften(mask: np.ndarray) -> np.ndarray:
    """Return a mask as (H, W) float32 from 0 to 1, with edges a little out of focus."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel to the next one outside of the mask, (H, W) float32; at most its length."""
    return np.minimum(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3), max(mask.shape))


def _is_border(label_map: np.ndarray) -> np.ndarray:
    """Mark pixels of a nucleus whose right or lower neighbour belongs to another one."""
    marked = np.zeros(label_map.shape, bool)
    marked[:, :-1] |= (label_map[:, 1:] != label_map[:, :-1]) & (label_map[:, 1:] > 0)
    marked[:-1] |= (label_map[1:] != label_map[:-1]) & (label_map[1:] > 0)
    return marked & (label_map > 0)
