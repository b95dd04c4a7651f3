"""What it takes to open the model and the outputs of a call, here or in another process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmentation.batch.outputs import Output
from segmentation.bundle import Bundle, load_bundle
from segmentation.prediction.engines import open_engine
from segmentation.prediction.opening import open_predictor
from segmentation.prediction.predictor import Predictor


@dataclass(frozen=True)
class Recipe:
    """Options of predict_masks.py, as they were given."""

    model: Path
    engine: str
    precision: str | None
    how: Mapping[str, Any]  # further arguments of `open_predictor`
    outputs: tuple[str, ...]
    open_outputs: Callable[[tuple[str, ...], Bundle], dict[str, Output]]

    def open(self, streams: int, cores: int | None = None) -> tuple[Predictor, dict[str, Output]]:
        """Open the network for so many threads that call it, on so many cores, and the outputs."""
        bundle = load_bundle(self.model)
        engine = open_engine(bundle, self.engine, self.precision, streams, cores)
        return open_predictor(bundle, engine, **self.how), self.open_outputs(self.outputs, bundle)
