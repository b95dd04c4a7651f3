"""A model, ready to turn images into label maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from segmentation.bundle import Bundle, BundleError
from segmentation.data.images import Image
from segmentation.data.normalisation import Normalisation
from segmentation.instances.targets import TARGETS
from segmentation.prediction.engines import Engine, open_engine
from segmentation.prediction.tiling import predict_batch

# To be raised when the same model and settings begin to give other results, so that what older code finished is redone.
RESULTS_VERSION = 1


@dataclass(frozen=True)
class Predictor:
    """The way of an image: normalise, run the network, decode.

    Attributes
    ----------
    engine : Engine
    normalisation : Normalisation
    divisor, margin : int
        Of the network: 2 ** depth, and its receptive-field radius in pixels.
    decode : callable
        ``(H, W, C) float32 -> (H, W) int32``, a label map 0..n.
    settings : dict
        All that decides a label map besides the image, in JSON's types: the model's digest, thresholds, precision.
    """

    engine: Engine
    normalisation: Normalisation
    divisor: int
    margin: int
    decode: Callable[[np.ndarray], np.ndarray]
    settings: dict

    def prepare(self, image: Image) -> np.ndarray:
        """Normalise a whole image: ``(H, W, 3)`` float32."""
        return self.normalisation.apply(image.pixels, self.normalisation.limits(image.pixels))

    def predict(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the network on prepared images of one padded shape: ``(H, W, C)`` float32 for each."""
        return predict_batch(self.engine, prepared, self.divisor, self.margin)

    def __call__(self, image: Image) -> np.ndarray:
        """The label map of one image: ``(H, W)`` int32, 0 = background, 1..n."""
        return self.decode(self.predict([self.prepare(image)])[0])


def open_predictor(
    bundle: Bundle,
    engine: str = "auto",
    precision: str | None = None,
    threshold: float | None = None,
    min_area: int | None = None,
) -> Predictor:
    """Make a bundle ready to turn images into label maps.

    Parameters
    ----------
    bundle : Bundle
    engine, precision
        As in `segmentation.prediction.engines.open_engine`.
    threshold : float, optional
        Least probability of foreground; without it the bundle's.
    min_area : int, optional
        Smaller nuclei are dropped, in pixels; without it the bundle's.

    Raises
    ------
    BundleError
        If this code does not know the targets or the normalisation that the bundle names.
    EngineError
        If the engine cannot be had.
    """
    if bundle.targets not in TARGETS:
        raise BundleError(
            f"The model {bundle.folder} was trained on targets {bundle.targets!r} and this code knows "
            f"{', '.join(TARGETS)}; update the code, or name another model with --model"
        )
    try:
        normalisation = Normalisation(**bundle.normalisation)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The model {bundle.folder} has a normalisation that this code does not know ({error}); "
            "update the code, or name another model with --model"
        ) from error
    thresholds = bundle.thresholds | ({} if threshold is None else {"foreground": threshold})
    min_area = bundle.min_area if min_area is None else min_area
    opened = open_engine(bundle, engine, precision)
    settings = {
        "version": RESULTS_VERSION,
        "model": bundle.digest,
        "engine": opened.name,
        "precision": opened.precision,
        "thresholds": thresholds,
        "min_area": min_area,
    }
    decode = partial(TARGETS[bundle.targets].decode, thresholds=thresholds, min_area=min_area)
    return Predictor(opened, normalisation, bundle.divisor, bundle.receptive_field_radius, decode, settings)
