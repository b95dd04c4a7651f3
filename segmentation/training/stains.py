"""Stains that the data do not hold: crops drawn in other dyes, fluorescence as stained tissue and the reverse.

Every picture is made of two densities, of nuclei and of the tissue around them. Those of a bright-field crop are taken
from the crop; those of a fluorescence crop are drawn, nuclei where its label map has them. See
`change_stain`.
"""

import cv2
import numpy as np

from segmentation.data.normalisation import Normalisation
from segmentation.training.tissue import count_labels, draw_nuclei, draw_red_cells, draw_tissue, soften

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
        overlaps = np.zeros(count_labels(turned), bool)
        overlaps[turned[label_map > 0]] = overlaps[0] = True
        is_added = ~overlaps[turned]
        image = np.where(is_added[..., None], np.flip(given, axes), image)
        label_map = np.where(is_added, turned + label_map.max(), label_map)
    return image, label_map


def vary_brightness(image: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dim each nucleus of a fluorescence crop on its own, down to a tenth of its brightness, but for the background."""
    gains = np.exp(rng.uniform(np.log(0.1), 0, count_labels(label_map))).astype(np.float32)
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


def draw_dyes(nuclei: np.ndarray, tissue: np.ndarray, label_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw nuclei and tissue of given densities, (H, W), in dyes, light and sharpness at random: (H, W, 3) uint8.

    Half of them are haematoxylin and eosin. Often tissue takes up some of the dye of the nuclei, or that alone;
    sometimes a part of the nuclei has another dye.
    """
    is_usual = rng.random() < 0.5
    dye, other = _mix(HAEMATOXYLINS if is_usual else NUCLEAR_DYES, rng), _mix(NUCLEAR_DYES, rng)
    around = _mix(EOSINS if is_usual else TISSUE_DYES, rng)
    if rng.random() < 0.6:  # nuclei take up some of the other dye, up to purple and magenta ones
        mixed = rng.uniform(0, 0.7)
        dye = (1 - mixed) * dye + mixed * around
    if rng.random() < 0.6:
        shared = min(rng.uniform(0, 2), 1)
        around = shared * dye + (1 - shared) * around
    nuclei = nuclei * np.exp(rng.uniform(*np.log((0.6, 3))))
    strength = rng.uniform(0.4, 1.4) if rng.random() < 0.5 else np.exp(rng.uniform(*np.log((0.05, 1))))
    densities = [(strength * tissue * (1 - 0.5 * nuclei.clip(0, 1)), around)]
    if label_map.any() and rng.random() < 0.15:
        has_other = rng.random(count_labels(label_map)) < rng.uniform(0.1, 0.9)
        share = soften(has_other[label_map] & (label_map > 0))
        densities += [(nuclei * share, other)]
        nuclei = nuclei * (1 - share)
    densities += [(nuclei, dye)]
    if rng.random() < 0.05:
        densities += [(rng.uniform(0.3, 1.2) * draw_red_cells(label_map, rng), _mix(EOSINS, rng))]
    lamp = np.exp(-rng.random() * rng.uniform(0, 0.4, 3))
    light = absorb(densities) * lamp.astype(np.float32)
    if rng.random() < 0.5:
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 1.2))
    # Cameras differ, and shape must do where colour does not tell: channels in another order or missing, or grey.
    if rng.random() < 0.2:
        light = light[..., rng.integers(3, size=3)]
    elif rng.random() < 0.2:
        light = np.repeat(light.mean(axis=-1, keepdims=True), 3, axis=-1)
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


def _mix(dyes: dict[str, tuple[float, float, float]], rng: np.random.Generator) -> np.ndarray:
    """Return a unit vector, (3,) float32, near one dye or between two."""
    share = rng.random() * rng.integers(2)
    first, second = rng.choice(list(dyes.values()), 2)
    mixed = np.abs((1 - share) * first + share * second + rng.normal(0, 0.12, 3))
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


def _as_bytes(intensities: np.ndarray) -> np.ndarray:
    return np.rint(intensities.clip(0, _FULL)).astype(np.uint8)


def _normalise(pixels: np.ndarray) -> np.ndarray:
    normalisation = Normalisation()
    return _as_bytes(_FULL * normalisation.apply(pixels, normalisation.limits(pixels)))
