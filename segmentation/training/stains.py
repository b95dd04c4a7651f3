"""Stains that the data do not hold: crops drawn in other dyes, fluorescence as stained tissue and the reverse.

Every picture is made of two densities, of nuclei and of the tissue around them. Those of a bright-field crop are taken
from the crop; those of a fluorescence crop are drawn, nuclei where its label map has them. See
`change_stain`.
"""

import cv2
import numpy as np
from scipy import ndimage

from segmentation.data.normalisation import Normalisation

# Optical densities of dyes in red, green and blue: Ruifrok and Johnston (Analytical and Quantitative Cytology and
# Histology 23, 2001) and G. Landini's colour deconvolution for ImageJ.
HAEMATOXYLINS = {"haematoxylin": (0.65, 0.70, 0.29), "redder haematoxylin": (0.49, 0.77, 0.41)}
NUCLEAR_DYES = HAEMATOXYLINS | {
    "Feulgen's": (0.46, 0.83, 0.31),
    "methylene blue": (0.83, 0.51, 0.20),
    "diaminobenzidine": (0.27, 0.57, 0.78),
    "methyl green": (0.98, 0.14, 0.13),
    "aminoethyl carbazole": (0.27, 0.68, 0.68),
}
EOSINS = {"eosin": (0.07, 0.99, 0.11), "orange eosin": (0.05, 0.84, 0.54), "Giemsa's eosin": (0.09, 0.95, 0.28)}
TISSUE_DYES = EOSINS | {"aniline blue": (0.85, 0.51, 0.11), "light green": (0.94, 0.34, 0.05)}
_FULL = 255


def change_stain(image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the nuclei of a crop as another stain, or another microscope, would show them.

    Fluorescence mostly becomes stained tissue, often with more nuclei, and sometimes fluorescence whose nuclei differ
    in brightness up to tenfold; bright field becomes bright field in other dyes, sometimes fluorescence.

    Parameters
    ----------
    image : (H, W, 3) ndarray of uint8
        A crop of a normalised image.
    label_map : (H, W) ndarray of int32
        0 is background.
    rng : numpy.random.Generator
        All the randomness.

    Returns
    -------
    image : (H, W, 3) ndarray of uint8
        Normalised again, as an image is.
    label_map : (H, W) ndarray of int32
        As given, or with the nuclei that were added.

    Examples
    --------
    >>> import numpy as np
    >>> label_map = np.zeros((64, 64), np.int32)
    >>> label_map[20:40, 20:40] = 1
    >>> image = np.uint8(200 * (label_map > 0))[..., None].repeat(3, axis=-1)
    >>> stained, label_map = change_stain(image, label_map, np.random.default_rng(0))
    >>> bool(stained[label_map > 0].mean() < stained[label_map == 0].mean())
    True
    """
    if is_dark_field(image, label_map):
        if label_map.any() and rng.random() < 0.15:
            return vary_brightness(image, label_map, rng), label_map
        image, label_map = add_nuclei(image, label_map, times=int(rng.integers(4)))
        nuclei, tissue = draw_nuclei(image, label_map, rng), draw_tissue(label_map, rng)
        return draw_dyes(nuclei, tissue, label_map, rng), label_map
    nuclei, tissue = split_density(image, label_map)
    if rng.random() < 0.25:
        return draw_fluorescence(nuclei, tissue, rng), label_map
    return draw_dyes(nuclei, tissue, label_map, rng), label_map


def is_dark_field(image: np.ndarray, label_map: np.ndarray) -> bool:
    """Tell whether nuclei are brighter than what is around them; without either, whether the crop is mostly dark."""
    is_nucleus = label_map > 0
    if is_nucleus.any() and not is_nucleus.all():
        return bool(image[is_nucleus].mean() > image[~is_nucleus].mean())
    return bool(np.median(image) < _FULL / 2)


def add_nuclei(image: np.ndarray, label_map: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Add the nuclei of the crop, turned upside down and mirrored in up to three ways, where they overlap none.

    Tissue is more crowded than cultured cells. Return the new image and label map.
    """
    given, given_labels = image, label_map
    for axes in ((0, 1), (0,), (1,))[:times]:
        turned = np.flip(given_labels, axes)
        overlaps = np.zeros(_count(turned), bool)
        overlaps[turned[label_map > 0]] = overlaps[0] = True
        is_added = ~overlaps[turned]
        image = np.where(is_added[..., None], np.flip(given, axes), image)
        label_map = np.where(is_added, turned + label_map.max(), label_map)
    return image, label_map


def vary_brightness(image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dim each nucleus of a fluorescence crop on its own, down to a tenth of its brightness, but for the background."""
    gains = np.exp(rng.uniform(np.log(0.1), 0, _count(label_map))).astype(np.float32)
    gains[rng.choice(label_map[label_map > 0])] = gains[0] = 1
    background = np.float32(np.median(image[label_map == 0])) if (label_map == 0).any() else np.float32(0)
    gain = cv2.GaussianBlur(gains[label_map], (0, 0), 1)[..., None]
    return _as_bytes(background + (image - background) * gain)


def split_density(image: np.ndarray, label_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the density of a bright-field crop into those of nuclei and tissue, each (H, W) float32 from 0 to about 1.

    Tissue is as dense as most of what is not a nucleus; what is denser than that counts as nuclei.
    """
    density = -np.log((image.astype(np.float32).mean(axis=-1) + 1) / (_FULL + 1))
    is_tissue = label_map == 0
    limit = np.quantile(density[is_tissue] if is_tissue.any() else density, 0.75) + 0.02
    nuclei, tissue = np.maximum(density - limit, 0), np.minimum(density, limit)
    return nuclei / max(np.quantile(nuclei, 0.98), 0.2), tissue / limit


def draw_nuclei(image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the density of stained nuclei, (H, W) float32 from 0 to about 1, where a fluorescence crop has nuclei.

    Nuclei differ in strength. Each has a chromatin of clumps and its own signal, a core that may be pale and a rim.
    """
    if not label_map.any():
        return np.zeros(label_map.shape, np.float32)
    labels = np.arange(_count(label_map))
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
            tissue *= 1 - _soft((fibres < rng.uniform(0.1, 0.7)) & (away > rng.uniform(0, 4)))
    if rng.random() < 0.5:
        tissue += rng.uniform(0, 0.4) * np.exp(-away / (rng.uniform(0.3, 1.2) * radius))
    if rng.random() < 0.6:
        holes = draw_noise(rng, shape, np.exp(rng.uniform(*np.log((0.5, 6)))) * radius)
        tissue *= 1 - rng.uniform(0.5, 1) * _soft((holes > rng.uniform(-1, 1.5)) & (away > rng.uniform(0, 6)))
    return tissue.clip(0, 2)


def draw_noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Draw smooth noise of about unit variance, (H, W) float32, whose spots are `grain` pixels wide."""
    rows, columns = (max(round(length / grain), 1) + 3 for length in shape)
    coarse = rng.standard_normal((rows, columns), np.float32)
    size = (round(shape[1] * columns / (columns - 3)), round(shape[0] * rows / (rows - 3)))
    fine = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    top, left = (fine.shape[0] - shape[0]) // 2, (fine.shape[1] - shape[1]) // 2
    return 1.17 * fine[top : top + shape[0], left : left + shape[1]]


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


def draw_red_cells(label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the density of red blood cells, (H, W) float32 from 0 to 1, where nuclei leave room."""
    drawn, away = np.zeros(label_map.shape, np.float32), _distance(label_map == 0)
    size = max((median_diameter(label_map) / 2 or 10) * rng.uniform(0.5, 0.9), 2)
    where = rng.integers(0, away.shape, (rng.integers(3, 60), 2))
    for row, column in where[away[tuple(where.T)] > size]:
        axes = tuple(np.maximum(np.rint(size * rng.uniform(0.75, 1.15, 2)), 1).astype(int).tolist())
        cv2.ellipse(drawn, (int(column), int(row)), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.6, 1), -1)
    return cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.5, 1.2))


def draw_dyes(nuclei: np.ndarray, tissue: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw nuclei and tissue of given densities, (H, W), in dyes, light and sharpness at random: (H, W, 3) uint8.

    Half of them are haematoxylin and eosin. Often tissue takes up some of the dye of the nuclei, or that alone;
    sometimes a part of the nuclei has another dye.
    """
    is_usual = rng.random() < 0.5
    dye, other = _mix(HAEMATOXYLINS if is_usual else NUCLEAR_DYES, rng), _mix(NUCLEAR_DYES, rng)
    around = _mix(EOSINS if is_usual else TISSUE_DYES, rng)
    if rng.random() < 0.6:
        shared = min(rng.uniform(0, 2), 1)
        around = shared * dye + (1 - shared) * around
    nuclei = nuclei * np.exp(rng.uniform(*np.log((0.6, 3))))
    strength = rng.uniform(0.4, 1.4) if rng.random() < 0.5 else np.exp(rng.uniform(*np.log((0.05, 1))))
    densities = [(strength * tissue * (1 - 0.5 * nuclei.clip(0, 1)), around)]
    if label_map.any() and rng.random() < 0.15:
        has_other = rng.random(_count(label_map)) < rng.uniform(0.1, 0.9)
        share = _soft(has_other[label_map] & (label_map > 0))
        densities += [(nuclei * share, other)]
        nuclei = nuclei * (1 - share)
    densities += [(nuclei, dye)]
    if rng.random() < 0.08:
        densities += [(rng.uniform(0.3, 1.2) * draw_red_cells(label_map, rng), _mix(EOSINS, rng))]
    lamp = np.exp(-rng.random() * rng.uniform(0, 0.4, 3))
    light = absorb(densities) * lamp.astype(np.float32)
    if rng.random() < 0.5:
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 1.2))
    pixels = _as_bytes(_FULL * light)
    if rng.random() < 0.3:
        quality = int(rng.integers(30, 95))
        encoded = cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))
    # Elsewhere in the image there are nuclei: tissue alone is not stretched to the full range.
    return _normalise(pixels) if label_map.any() else pixels


def absorb(densities: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the share of the light, (H, W, 3), that goes through dyes: pairs of a density, (H, W), and a colour, (3,).

    The law of Beer and Lambert, with the natural logarithm.
    """
    return np.exp(-sum(density[..., None].astype(np.float32) * dye for density, dye in densities))


def draw_fluorescence(nuclei: np.ndarray, tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw nuclei and tissue of given densities, (H, W), as light in the dark: grey, (H, W, 3) uint8."""
    light = nuclei.clip(0, 1.5) ** rng.uniform(0.5, 1.2) + rng.uniform(0, 0.15) * tissue
    blurred = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 1.2))
    return _normalise(cv2.merge([_as_bytes(_FULL * blurred / max(float(blurred.max()), 1.0))] * 3))


def median_diameter(label_map: np.ndarray) -> float:
    """Return the median diameter of the nuclei of a label map, in pixels, as of disks of their areas; 0 without any."""
    areas = np.bincount(label_map.ravel())[1:]
    return float(2 * np.sqrt(np.median(areas[areas > 0]) / np.pi)) if areas.any() else 0.0


def _distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel to the next one outside of the mask, (H, W) float32; at most its length."""
    return np.minimum(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3), max(mask.shape))


def _soft(mask: np.ndarray) -> np.ndarray:
    """Return a mask as (H, W) float32 from 0 to 1, with edges a little out of focus."""
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)


def _mix(dyes: dict[str, tuple[float, float, float]], rng: np.random.Generator) -> np.ndarray:
    """Return a unit vector, (3,) float32, near one dye or between two."""
    share = rng.random() * rng.integers(2)
    first, second = rng.choice(list(dyes.values()), 2)
    mixed = np.abs((1 - share) * first + share * second + rng.normal(0, 0.08, 3))
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


def _is_border(label_map: np.ndarray) -> np.ndarray:
    """Mark pixels of a nucleus whose right or lower neighbour belongs to another one."""
    marked = np.zeros(label_map.shape, bool)
    marked[:, :-1] |= (label_map[:, 1:] != label_map[:, :-1]) & (label_map[:, 1:] > 0)
    marked[:-1] |= (label_map[1:] != label_map[:-1]) & (label_map[1:] > 0)
    return marked & (label_map > 0)


def _count(label_map: np.ndarray) -> int:
    """Return the number of values of a label map, 0 included."""
    return int(label_map.max()) + 1


def _as_bytes(intensities: np.ndarray) -> np.ndarray:
    return np.rint(intensities.clip(0, _FULL)).astype(np.uint8)


def _normalise(pixels: np.ndarray) -> np.ndarray:
    normalisation = Normalisation()
    return _as_bytes(_FULL * normalisation.apply(pixels, normalisation.limits(pixels)))
