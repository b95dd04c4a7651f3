"""A model, ready to turn images into label maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np

from segmentation.bundle import Bundle, BundleError
from segmentation.data.images import Image, is_grey
from segmentation.data.normalisation import Normalisation, SharedLimits
from segmentation.prediction.appearance import look_at
from segmentation.prediction.engines import Engine, SymmetricEngine, open_engine
from segmentation.prediction.planning import LARGEST_TILE, plan_tiles
from segmentation.prediction.scale import (
    LARGEST_SCALE,
    MOST_PASSES,
    SMALLEST_SCALE,
    DiameterError,
    DiameterSearch,
    Rescaling,
    scale_for,
)
from segmentation.prediction.tiling import predict_batch, predict_tiles
from segmentation.prediction.trust import Found, Trust
from segmentation.prediction.views import AS_IT_IS, GAIN, View, ViewEngine, grey_views, sample_of
from segmentation.targets.encodings import ENCODINGS

# Raise this when the same model and settings begin to give other results, so that images finished earlier are redone.
RESULTS_VERSION = 8


@dataclass(frozen=True)
class Predictor:
    """The three steps from an image to a label map: normalise, run the network, decode."""

    engine: Engine
    normalisation: Normalisation
    divisor: int  # 2 ** depth of the network
    margin: int  # its receptive-field radius in pixels
    # Channels (H, W, C) float32 -> label map (H, W) int32, with the options of `Encoding.find_nuclei`.
    decode: Callable[..., np.ndarray]
    # All that decides a label map besides the image, in JSON types: the model's digest, thresholds, precision.
    settings: dict
    rescaling: Rescaling | None = None  # without it, the network sees images as they are
    # With these, `predict_at_best` looks for the scale that suits each image, and takes the predictor at it.
    search: DiameterSearch | None = None
    at: Callable[[Fraction], "Predictor"] | None = None
    pixel_size_um: float | None = None  # of all images, whatever their files say
    channel: str | None = None  # of images that have several, as in `segmentation.data.images.read_image`
    project: str | None = None  # of stacks in Z, as in `segmentation.data.formats.planes.Planes`
    symmetric: Callable[[Engine], Engine] | None = None  # for test-time augmentation
    trust: Trust | None = None  # None for a model without coefficients: no scores, no verdicts, no other views
    view: View = AS_IT_IS

    @property
    def scale(self) -> Fraction:
        """Network pixels for each pixel of an image, along one axis."""
        return self.rescaling.scale if self.rescaling else Fraction(1)

    @property
    def network(self) -> Engine:
        """The engine, with the view, and with test-time augmentation if that is asked for."""
        engine = self.engine if self.view == AS_IT_IS else ViewEngine(self.engine, self.view)
        return self.symmetric(engine) if self.symmetric else engine

    def with_engine(self, engine: Engine) -> "Predictor":
        """Return this predictor with another engine, at every scale."""
        at = self.at
        return replace(self, engine=engine, at=at and (lambda scale: at(scale).with_engine(engine)))

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
        channels = predict_batch(self.network, [seen], self.divisor, self.margin, largest_tile)[0]
        return self.rescaling.channels(channels, image.shape[:2]) if self.rescaling else channels

    def _predict_enlarged(self, image: np.ndarray) -> np.ndarray:
        """Enlarge tile by tile, as the whole image may have sixteen times as many network pixels."""
        limits = self.divisor, self.margin, LARGEST_TILE
        rows, columns = plan_tiles(image.shape[:2], *limits, scale=self.scale, shortest_valid=0)
        return predict_tiles(lambda tiles: [self.predict_alone(tile) for tile in tiles], image, rows, columns)

    def predict_at_best(self, prepared: Sequence[np.ndarray]) -> list["BestOutput"]:
        """Run the network on prepared images of one padded shape, each at the scale and in the view that suit it."""
        outputs = zip(prepared, self.predict(prepared), strict=True)
        return [self._search(image, channels).in_best_view(image) for image, channels in outputs]

    def _search(self, image: np.ndarray, channels: np.ndarray) -> "BestOutput":
        """Repeat the pass that gave the channels at other scales until one suits the image."""
        predictor, diameter = self, None
        if self.search and self.at:
            tried = {predictor.scale}
            for _ in range(MOST_PASSES - 1):
                diameter, scale = self.search.next_scale(channels, predictor.scale)
                if scale in tried:
                    break
                tried.add(scale)
                predictor = self.at(scale)
                channels = predictor.predict([image])[0]
        return BestOutput(predictor, channels, diameter)

    def find(self, image: Image) -> Found:
        """Find the nuclei of one image."""
        prepared = self.prepare(image)
        return self.predict_at_best([prepared])[0].find(prepared)

    def __call__(self, image: Image) -> np.ndarray:
        """Return the label map of one image: ``(H, W)`` int32, 0 = background, 1..n."""
        return self.find(image).labels


@dataclass(frozen=True, eq=False)
class BestOutput:
    """The output of the network for an image, at the scale and in the view that suit it."""

    predictor: Predictor  # at that scale, with that view
    channels: np.ndarray  # (H, W, C) float32, at the size of the image
    diameter: float | None  # of the nuclei, in pixels of the image; None without a search or without nuclei

    def label_map(self) -> np.ndarray:
        """Decode the channels: ``(H, W)`` int32, 0 = background, 1..n; nuclei of all scores."""
        return self.predictor.decode(self.channels)

    def find(self, prepared: np.ndarray) -> Found:
        """Decode the channels, and score and judge the result if the model can; `prepared` is the normalised image."""
        labels, trust, scale = self.label_map(), self.predictor.trust, float(self.predictor.scale)
        return trust.find(labels, self.channels, prepared, scale, self.predictor.view.name) if trust else Found(labels)

    def in_best_view(self, image: np.ndarray) -> "BestOutput":
        """Choose a view of a prepared image of a stain that the model does not know; others are seen as they are.

        It is the view that promises the best AP50, by `GAIN` at least, in the part of the image that is fullest.
        """
        trust = self.predictor.trust
        if not trust or is_grey(image[::16, ::16]):
            return self
        sample = sample_of(image)
        if not trust.is_new_stain(look_at(sample)):
            return self
        is_whole = sample.shape == image.shape
        view, channels = _best_view(self.predictor, trust, sample, self.channels if is_whole else None)
        predictor = replace(self.predictor, view=view)
        if not is_whole:
            channels = self.channels if view == AS_IT_IS else predictor.predict([image])[0]
        return replace(self, predictor=predictor, channels=channels)


def _best_view(
    predictor: Predictor, trust: Trust, sample: np.ndarray, channels: np.ndarray | None
) -> tuple[View, np.ndarray]:
    """Return the view of a sample that promises the best AP50, and its channels; those as it is may be known."""

    def promise(channels: np.ndarray) -> float:
        return trust.expected_ap50(trust.gather(channels, predictor.decode(channels)))

    as_it_is = predictor.predict([sample])[0] if channels is None else channels
    red, blue = grey_views(sample)
    in_red, in_blue = (replace(predictor, view=view).predict([sample])[0] for view in (red, blue))
    both = replace(red, as_it_is=True), (as_it_is + in_red) / 2
    best = max((red, in_red), (blue, in_blue), both, key=lambda seen: promise(seen[1]))
    return best if promise(best[1]) > promise(as_it_is) + GAIN else (AS_IT_IS, as_it_is)


def normalisation_of(bundle: Bundle) -> Normalisation:
    """Return the normalisation that a bundle names; `BundleError` if this code does not know it."""
    try:
        return Normalisation(**bundle.normalisation)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The model {bundle.folder} has a normalisation that this code does not know ({error}); "
            "update the code, or name another model with --model"
        ) from error


def open_predictor(
    bundle: Bundle,
    engine: Engine | None = None,
    threshold: float | None = None,
    min_area: int | None = None,
    diameter: float | Literal["auto"] | None = "auto",
    pixel_size_um: float | None = None,
    tta: bool = False,
    channel: str | None = None,
    min_score: float | None = None,
    limits: tuple[float, float] | None = None,
    project: str | None = None,
) -> Predictor:
    """Make a bundle ready to turn images into label maps.

    Parameters
    ----------
    engine : Engine, optional
        Runs the bundle's network; by default the one of `segmentation.prediction.engines.open_engine`.
    threshold, min_area, diameter, tta, min_score
        As in `segmentation.segment`. The bundle's `min_area` is for nuclei of the known diameter: it grows and shrinks
        with the scale. A given one is in pixels of the image.
    pixel_size_um : float, optional
        Side of a pixel of all images in micrometres, whatever their files say. A search for the diameter then begins as
        if nuclei measured 10 micrometres.
    channel : str, optional
        Name or number (from 1) of the channel to read of images that have several.
    limits : (float, float), optional
        The intensities that become black and white in every image; by default those of each image.
    project : str, optional
        How a stack in Z becomes one plane: "max", "mean", or the number of the plane.

    Raises
    ------
    DiameterError
        If the diameter is too far from the known one, or the bundle states none.
    BundleError
        If this code does not know the targets or the normalisation that the bundle names, or if the bundle has no
        coefficients for scores and a least score is given.
    EngineError
        As `segmentation.prediction.engines.open_engine`.
    """
    if bundle.targets not in ENCODINGS:
        raise BundleError(
            f"The model {bundle.folder} was trained on targets {bundle.targets!r} and this code knows "
            f"{', '.join(ENCODINGS)}; update the code, or name another model with --model"
        )
    normalisation = normalisation_of(bundle)
    if limits is not None:
        normalisation = SharedLimits(**bundle.normalisation, shared=limits)
    if min_score is not None and not bundle.trust:
        raise BundleError(
            f"The model {bundle.folder} gives no scores, so no least score can be asked for: leave it out, or fit "
            f"scores with python -m segmentation.training.calibrate {bundle.folder} --only-trust"
        )
    encoding = ENCODINGS[bundle.targets]
    trust = Trust(encoding, **bundle.trust, min_score=min_score) if bundle.trust else None
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
        "project": project,
        "trust": trust.digest if trust else None,
        "min_score": min_score,
    }
    if limits is not None:  # without them, images finished before there was this choice stay finished
        settings["limits"] = list(limits)

    def at(scale: Fraction) -> Predictor:
        least = round(bundle.min_area / scale**2) if min_area is None else min_area
        return Predictor(
            opened,
            normalisation,
            bundle.divisor,
            bundle.receptive_field_radius,
            decode=partial(encoding.find_nuclei, thresholds=thresholds, min_area=least),
            settings=settings,
            rescaling=Rescaling(scale, encoding) if scale != 1 else None,
            pixel_size_um=pixel_size_um,
            channel=channel,
            project=project,
            symmetric=partial(SymmetricEngine, encoding=encoding) if tta else None,
            trust=trust,
        )

    if diameter is None:
        return at(Fraction(1))
    known = bundle.diameter
    if not known > 0:
        raise DiameterError(f"The model {bundle.folder} does not say how large the nuclei are that it knows")
    if not isinstance(diameter, str):
        least, most = known / float(LARGEST_SCALE), known / float(SMALLEST_SCALE)
        if not least <= diameter <= most:
            raise DiameterError(
                f"The model {bundle.folder} takes nuclear diameters from {least:.1f} to {most:.1f} pixels, "
                f"got {diameter:g}"
            )
        return at(scale_for(diameter, known))
    search = DiameterSearch(encoding, thresholds.get("foreground", 0.5), known)
    return replace(at(search.first_scale(pixel_size_um)), search=search, at=at)
