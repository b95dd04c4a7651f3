"""Make a trained model ready to turn images into label maps."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Literal

from segmentation.bundle import Bundle, BundleError
from segmentation.data.normalisation import Normalisation, SharedLimits
from segmentation.prediction.engines import Engine, SymmetricEngine, open_engine
from segmentation.prediction.predictor import Predictor
from segmentation.prediction.scale import (
    LARGEST_SCALE,
    SMALLEST_SCALE,
    DiameterError,
    DiameterSearch,
    Rescaling,
    scale_for,
)
from segmentation.prediction.trust import Trust
from segmentation.targets.encodings import ENCODINGS

# Raise this when the same model and settings begin to give other results, so that images finished earlier are redone.
RESULTS_VERSION = 8


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
        Side of a pixel of all images in micrometres, whatever their files say.
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
    return replace(at(Fraction(1)), search=search, at=at)
