#!/usr/bin/env python3
"""How masks depend on the look of an image: scores on copies that are noisier, blurred, darker or stained otherwise.

    python benchmarks/robustness.py --data data/dsb2018 --split data/dsb2018_split.csv --model models/nuclei

Each image is stretched as the network sees it, so that a change is relative to its contrast; then it is changed, and
predicted as `predict_masks.py` does by default. Masks should not depend on any of these changes, which stand for other
microscopes, stains and settings, as far as changed copies can. Images without nuclei are left out.
"""

from collections.abc import Callable

from options import model_parser

args = model_parser(__doc__, subset="val").parse_args()

import cv2
import numpy as np
import pandas as pd
from images import figures_by_kind, read_images
from trials import print_table

from segmentation.bundle import load_bundle
from segmentation.data.images import RGB, Image
from segmentation.evaluation.scores import score_image, set_figures
from segmentation.prediction.opening import open_predictor
from segmentation.training.stains import NUCLEAR_DYES, TISSUE_DYES


def noise(sigma: float) -> Callable:
    """Gaussian noise, the same in all channels: as grey images have it."""

    def change(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return stretched + rng.normal(0, sigma, stretched.shape[:2]).astype(np.float32)[..., None]

    return change


def blur(sigma: float) -> Callable:
    """Out of focus, by a Gaussian; in pixels."""
    return lambda stretched, rng: cv2.GaussianBlur(stretched, (0, 0), sigma)


def gamma(exponent: float) -> Callable:
    """Darker where the exponent is above 1."""
    return lambda stretched, rng: stretched**exponent


def background(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A background that rises from left to right by 0.3."""
    return 0.7 * stretched + np.linspace(0, 0.3, stretched.shape[1], dtype=np.float32)[None, :, None]


def shading(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast that falls to a third from right to left."""
    contrast = np.linspace(0.35, 1, stretched.shape[1], dtype=np.float32)[None, :, None]
    is_dark = stretched.mean() < 0.5
    return stretched * contrast if is_dark else 1 - (1 - stretched) * contrast


def speck(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A disc on half a percent of a dark field that outshines the brightest nuclei six times."""
    if stretched.mean() >= 0.5:
        return stretched
    height, width = stretched.shape[:2]
    radius = np.sqrt(0.005 * height * width / np.pi)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - rng.uniform(radius, height - radius), columns - rng.uniform(radius, width - radius))
    return np.where(distance[..., None] < radius, 1, stretched / 6).astype(np.float32)


def jpeg(quality: int) -> Callable:
    """As a camera or a viewer may have compressed it."""

    def change(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        blue_first = np.ascontiguousarray(as_bytes(stretched)[..., ::-1])
        encoded = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255

    return change


def colour(turn: float = 0, saturation: float = 1) -> Callable:
    """Hue turned by some degrees, from violet towards red; grey images stay as they are."""

    def change(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        hue, saturated, value = cv2.split(cv2.cvtColor(stretched, cv2.COLOR_RGB2HSV))
        turned = cv2.merge([(hue + turn) % 360, (saturated * saturation).clip(0, 1), value])
        return cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)

    return change


def stain(nuclear: str, around: str) -> Callable:
    """Drawn in two dyes: what is bright in fluorescence, or dark in bright field, in the first; the second everywhere.

    The tissue is clouds of about the size of nuclei, less dense where nuclei are.
    """

    def change(stretched: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        grey = stretched.mean(axis=-1)
        nuclei = grey if np.median(grey) < 0.5 else 1 - grey
        clouds = cv2.GaussianBlur(rng.normal(size=grey.shape).astype(np.float32), (0, 0), 5)
        tissue = (0.4 + 0.1 * clouds / clouds.std()).clip(0) * (1 - nuclei)
        return np.exp(-2 * nuclei[..., None] * DYES[nuclear] - tissue[..., None] * DYES[around]).astype(np.float32)

    return change


DYES = {name: np.array(dye) for name, dye in (NUCLEAR_DYES | TISSUE_DYES).items()}
CHANGES = {
    "as they are": lambda stretched, rng: stretched,
    "noise, sigma 0.08": noise(0.08),
    "noise, sigma 0.15": noise(0.15),
    "blurred, sigma 2 pixels": blur(2),
    "blurred, sigma 3 pixels": blur(3),
    "JPEG, quality 20": jpeg(20),
    "background rises by 0.3": background,
    "contrast falls to a third": shading,
    "a speck, 6 times as bright": speck,
    "gamma 0.5": gamma(0.5),
    "gamma 2": gamma(2),
    "hue - 40 degrees": colour(-40),
    "hue + 30 degrees": colour(30),
    "hue + 60 degrees": colour(60),
    "saturation x 0.5": colour(saturation=0.5),
    "saturation x 1.6": colour(saturation=1.6),
    "inverted": lambda stretched, rng: 1 - stretched,
    "haematoxylin and eosin": stain("haematoxylin", "eosin"),
    "haematoxylin alone": stain("haematoxylin", "haematoxylin"),
    "diaminobenzidine and haematoxylin": stain("diaminobenzidine", "haematoxylin"),
    "Giemsa's": stain("methylene blue", "Giemsa's eosin"),
}


def as_bytes(stretched: np.ndarray) -> np.ndarray:
    """Round to the 8 bits of a file, (H, W, 3) uint8."""
    return np.rint(255 * stretched.clip(0, 1)).astype(np.uint8)


def main() -> None:
    predictor = open_predictor(load_bundle(args.model))
    normalisation = predictor.normalisation
    images = [
        (kind, normalisation.apply(image.pixels, normalisation.limits(image.pixels)), label_map)
        for kind, image, label_map in read_images(args.data, args.split, args.subset)
    ]
    rows = {}
    for name, change in CHANGES.items():
        rng = np.random.default_rng(0)
        scores = [
            score_image(label_map, predictor(Image(as_bytes(change(stretched, rng)), RGB, None)))
            for _, stretched, label_map in images
        ]
        figures = set_figures(scores)
        rows[name] = {"Dice": figures["dice"], "AP50": figures["ap50"], "mean AP 0.5-0.9": figures["mean_ap"]}
        rows[name] |= {f"Dice, {kind}": dice for kind, dice in figures_by_kind(scores, images, "dice").items()}
    print(f"{len(images)} images")
    print_table(pd.DataFrame.from_dict(rows, orient="index").map("{:.3f}".format))


if __name__ == "__main__":
    main()
