"""A model, ready to turn images into label maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from segmentation.data.formats.pixel_size import PixelSize
from segmentation.data.images import Image, is_grey
from segmentation.data.normalisation import Normalisation
from segmentation.prediction.appearance import look_at
from segmentation.prediction.engines import Engine
from segmentation.prediction.planning import LARGEST_TILE, plan_tiles
from segmentation.prediction.scale import MOST_PASSES, DiameterSearch, Rescaling
from segmentation.prediction.tiling import predict_batch, predict_tiles
from segmentation.prediction.trust import Found, Trust
from segmentation.prediction.views import AS_IT_IS, GAIN, View, ViewEngine, grey_views, sample_of

# Where a search begins at the least, and at most at 1, for the pixel size of a file, which may be wrong. Programs write
# 1 micrometre where nothing is known, and enlarging for that takes long; sizes ten times too small cost nuclei.
LEAST_START = Fraction(1, 5)


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

    def predict_at_best(
        self, prepared: Sequence[np.ndarray], sizes: Sequence[PixelSize | None] | None = None
    ) -> list["BestOutput"]:
        """Run the network on prepared images of one padded shape, each at the scale and in the view that suit it.

        The search for the scale begins with what the size of the pixels makes likely, where it is known.
        """
        starts = [self._start(size) for size in sizes or [None] * len(prepared)]
        together = [image for image, start in zip(prepared, starts, strict=True) if start is self]
        channels = iter(self.predict(together) if together else ())
        outputs = []
        for image, start in zip(prepared, starts, strict=True):
            seen = next(channels) if start is self else start.predict([image])[0]
            outputs.append(self._search(start, image, seen).in_best_view(image))
        return outputs

    def _start(self, size: PixelSize | None) -> "Predictor":
        """Return what to begin with: this, unless common nuclei in such pixels have a diameter it does not know."""
        if not (self.search and self.at):
            return self
        if self.pixel_size_um is not None:
            scale = self.search.first_scale(self.pixel_size_um)
        else:
            scale = min(max(self.search.first_scale(size and size.side), LEAST_START), Fraction(1))
        return self if scale == self.scale else self.at(scale)

    def _search(self, predictor: "Predictor", image: np.ndarray, channels: np.ndarray) -> "BestOutput":
        """Repeat the pass of a predictor, which gave the channels, at other scales until one suits the image."""
        diameter = None
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
        return self.predict_at_best([prepared], [image.pixel_size_um])[0].find(prepared)

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
