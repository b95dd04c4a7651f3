"""A model, ready to turn images into label maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import numpy as np

from segmentation.bundle import Bundle, BundleError
from segmentation.data.images import Image
from segmentation.data.normalisation import Normalisation
from segmentation.large.blocks import plan_blocks
from segmentation.prediction.diameter import MOST_PASSES, DiameterSearch
from segmentation.prediction.engines import LARGEST_TILE, Engine, OpenedEngine, open_engine
from segmentation.prediction.scale import LARGEST_SCALE, SMALLEST_SCALE, DiameterError, Rescaling, scale_for
from segmentation.prediction.symmetries import SymmetricEngine
from segmentation.prediction.tiling import predict_batch, predict_channels
from segmentation.targets.encodings import ENCODINGS

# To be raised when the same model and settings begin to give other results, so that what older code finished is redone.
RESULTS_VERSION = 5


@dataclass(frozen=True)
class Predictor:
    """The way of an image: normalise, run the network, decode.

    Attributes
    ----------
    engine : OpenedEngine
    normalisation : Normalisation
    divisor, margin : int
        Of the network: 2 ** depth, and its receptive-field radius in pixels.
    decode : callable
        ``(H, W, C) float32 -> (H, W) int32``, a label map 0..n, of what `predict` gives; takes `cut`, too, as
        `segmentation.targets.encodings.Encoding.find_nuclei` does.
    settings : dict
        All that decides a label map besides the image, in JSON's types: the model's digest, thresholds, precision.
    rescaling : Rescaling, optional
        The network sees images at this scale; without it, as they are.
    search : DiameterSearch, optional
        `fit` looks for the scale that suits each image; without it, all are seen at the scale of `rescaling`.
    at : callable, optional
        ``Fraction -> Predictor``, this predictor at another scale and without a search. Goes with `search`.
    pixel_size_um : float, optional
        Side of a pixel of all images, in micrometres, whatever their files say.
    channel : str, optional
        Which channel is read of images that have several, as in `segmentation.data.images.read_image`.
    symmetric : callable, optional
        ``Engine -> Engine``, for test-time augmentation; without it images are seen once.
    """

    engine: OpenedEngine
    normalisation: Normalisation
    divisor: int
    margin: int
    decode: Callable[[np.ndarray], np.ndarray]
    settings: dict
    rescaling: Rescaling | None = None
    search: DiameterSearch | None = None
    at: Callable[[Fraction], "Predictor"] | None = None
    pixel_size_um: float | None = None
    channel: str | None = None
    symmetric: Callable[[Engine], Engine] | None = None

    @property
    def scale(self) -> Fraction:
        """Pixels to the network for each pixel of an image."""
        return self.rescaling.scale if self.rescaling else Fraction(1)

    @property
    def network(self) -> Engine:
        """What images are given to: the engine, or what asks it several times."""
        return self.symmetric(self.engine) if self.symmetric else self.engine

    def with_engine(self, engine: OpenedEngine) -> "Predictor":
        """This predictor, at whatever scale, with another engine."""
        at = self.at and (lambda scale: self.at(scale).with_engine(engine))
        return replace(self, engine=engine, at=at)

    def prepare(self, image: Image) -> np.ndarray:
        """Normalise a whole image: ``(H, W, 3)`` float32."""
        return self.normalisation.apply(image.pixels, self.normalisation.limits(image.pixels))

    def predict(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the network on prepared images of one padded shape: ``(H, W, C)`` float32 for each."""
        if not self.rescaling:
            return predict_batch(self.network, prepared, self.divisor, self.margin)
        # Enlarged images are larger than those that were put together for a batch, so they go one by one.
        return [self._predict_enlarged(image) if self.scale > 1 else self.predict_alone(image) for image in prepared]

    def predict_alone(self, image: np.ndarray, largest_tile: int = LARGEST_TILE) -> np.ndarray:
        """Run the network on one prepared image, or on a tile of one: ``(H, W, C)`` float32."""
        seen = self.rescaling.image(image) if self.rescaling else image
        channels = predict_channels(self.network, seen, self.divisor, self.margin, largest_tile)
        return self.rescaling.channels(channels, image.shape[:2]) if self.rescaling else channels

    def _predict_enlarged(self, image: np.ndarray) -> np.ndarray:
        """Enlarge tile by tile, as the whole image may have sixteen times its pixels to the network."""
        height, width = image.shape[:2]
        grid = plan_blocks((height, width), self.divisor, self.margin, self.scale, halo=0, largest_tile=LARGEST_TILE)
        channels = None
        for block in grid:
            rows, columns = block.rows.tile, block.columns.tile
            predicted = self.predict_alone(image[rows.tile, columns.tile])
            if channels is None:
                channels = np.empty((height, width, predicted.shape[-1]), np.float32)
            channels[rows.kept, columns.kept] = predicted[rows.kept_in_tile, columns.kept_in_tile]
        return channels

    def fit(self, prepared: Sequence[np.ndarray]) -> list["Fit"]:
        """Run the network on prepared images of one padded shape, each at the scale that suits it."""
        return [self._fit(image, channels) for image, channels in zip(prepared, self.predict(prepared), strict=True)]

    def _fit(self, image: np.ndarray, channels: np.ndarray) -> "Fit":
        predictor, diameter = self, None
        if self.search:
            tried = {predictor.scale}
            for _ in range(MOST_PASSES - 1):
                diameter, scale = self.search.next_scale(channels, predictor.scale)
                if scale in tried:
                    break
                tried.add(scale)
                predictor = self.at(scale)
                channels = predictor.predict([image])[0]
        return Fit(predictor, channels, diameter)

    def __call__(self, image: Image) -> np.ndarray:
        """The label map of one image: ``(H, W)`` int32, 0 = background, 1..n."""
        return self.fit([self.prepare(image)])[0].label_map()


@dataclass(frozen=True, eq=False)
class Fit:
    """What the network gave for an image, at the scale that suits it.

    Attributes
    ----------
    predictor : Predictor
        At that scale; it also suits other parts of the same picture.
    channels : (H, W, C) ndarray of float32
        At the size of the image.
    diameter : float or None
        Of the nuclei, in pixels of the image, as the network told when the scale was chosen; None if none was looked
        for or there are no nuclei.
    """

    predictor: Predictor
    channels: np.ndarray
    diameter: float | None

    def label_map(self) -> np.ndarray:
        """Tell the nuclei apart: ``(H, W)`` int32, 0 = background, 1..n."""
        return self.predictor.decode(self.channels)


def open_predictor(
    bundle: Bundle,
    engine: OpenedEngine | None = None,
    threshold: float | None = None,
    min_area: int | None = None,
    diameter: float | str | None = "auto",
    pixel_size_um: float | None = None,
    tta: bool = False,
    channel: str | None = None,
) -> Predictor:
    """Make a bundle ready to turn images into label maps.

    Parameters
    ----------
    bundle : Bundle
    engine : OpenedEngine, optional
        What runs the bundle's network; without it the one that `segmentation.prediction.engines.open_engine` gives.
    threshold : float, optional
        Least probability of foreground; without it the bundle's.
    min_area : int, optional
        Smaller nuclei are dropped, in pixels of the image; without it those that the bundle's least area is for the
        nuclei that the network knows.
    diameter : float or "auto", optional
        Of the nuclei in the images, in pixels: the network sees images at the scale at which that is the diameter it
        knows. "auto": the network tells itself, for each image. None: images are seen as they are.
    pixel_size_um : float, optional
        Side of a pixel of all images, in micrometres, whatever their files say; and where "auto" begins, as if nuclei
        measured 10 micrometres.
    tta : bool
        Average over the eight symmetries of the square.
    channel : str, optional
        Name or number (from 1) of the channel to read of images that have several.

    Raises
    ------
    DiameterError
        If a diameter is too far from the one that the network knows, or the network knows none.
    BundleError
        If this code does not know the targets or the normalisation that the bundle names.
    EngineError
        If there is no engine, and none can be had.
    """
    if bundle.targets not in ENCODINGS:
        raise BundleError(
            f"The model {bundle.folder} was trained on targets {bundle.targets!r} and this code knows "
            f"{', '.join(ENCODINGS)}; update the code, or name another model with --model"
        )
    try:
        normalisation = Normalisation(**bundle.normalisation)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The model {bundle.folder} has a normalisation that this code does not know ({error}); "
            "update the code, or name another model with --model"
        ) from error
    targets = ENCODINGS[bundle.targets]
    thresholds = bundle.thresholds | ({} if threshold is None else {"foreground": threshold})
    opened = engine or open_engine(bundle)
    settings = {
        "version": RESULTS_VERSION,
        "model": bundle.digest,
        "engine": opened.name,
        "precision": opened.precision,
        "thresholds": thresholds,
        "min_area": bundle.min_area if min_area is None else min_area,
        "diameter": diameter,
        "pixel_size_um": pixel_size_um,
        "tta": tta,
        "channel": channel,
    }

    def at(scale: Fraction) -> Predictor:
        least = round(bundle.min_area / scale**2) if min_area is None else min_area
        decode = partial(targets.find_nuclei, thresholds=thresholds, min_area=least)
        rescaling = Rescaling(scale, targets) if scale != 1 else None
        return Predictor(
            opened,
            normalisation,
            bundle.divisor,
            bundle.receptive_field_radius,
            decode,
            settings,
            rescaling,
            pixel_size_um=pixel_size_um,
            channel=channel,
            symmetric=partial(SymmetricEngine, targets=targets) if tta else None,
        )

    if diameter is None:
        return at(Fraction(1))
    if not bundle.diameter > 0:
        raise DiameterError(f"The model {bundle.folder} does not say how large the nuclei are that it knows")
    if diameter != "auto":
        return at(_scale(diameter, bundle))
    search = DiameterSearch(targets, thresholds.get("foreground", 0.5), bundle.diameter)
    return replace(at(search.first_scale(pixel_size_um)), search=search, at=at)


def _scale(diameter: float, bundle: Bundle) -> Fraction:
    least, most = bundle.diameter / float(LARGEST_SCALE), bundle.diameter / float(SMALLEST_SCALE)
    if not least <= diameter <= most:
        raise DiameterError(
            f"The model {bundle.folder} takes nuclear diameters from {least:.1f} to {most:.1f} pixels, got {diameter:g}"
        )
    return scale_for(diameter, bundle.diameter)
