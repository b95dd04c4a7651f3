"""Predict one picture that does not fit in memory: read, run the network and decode by blocks, then stitch.

The network runs on as many blocks at once as the engine has streams. Reading is a few blocks ahead of it and decoding a
few behind, in threads, so memory is bounded whatever the size of the picture. Finished blocks are kept on disk, so a
call that was killed resumes with the first block that is missing.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from segmentation import __version__
from segmentation.data.colours import find_single_channel
from segmentation.data.formats.channels import is_all_colours
from segmentation.data.images import count_gaps, fill_gaps, image_errors, is_grey, median_of
from segmentation.data.large import LargeImage
from segmentation.data.modality import STAINED
from segmentation.large.blocks import Block, Grid, plan_blocks
from segmentation.large.fragments import edge_of, find_fragments
from segmentation.large.glass import is_glass
from segmentation.large.result import LargePrediction
from segmentation.large.stitching import merge_evidence, stitch
from segmentation.large.store import BlockStore
from segmentation.prediction.appearance import Appearance, look_at
from segmentation.prediction.engines import StoppableEngine
from segmentation.prediction.predictor import Predictor
from segmentation.prediction.views import View, fullest, windows

#: ``measure(labels, pixels, channel_names) -> columns of a table``, for the labels of a window.
Measure = Callable[[np.ndarray, np.ndarray, tuple[str, ...]], dict[str, np.ndarray]]


def predict_large(
    name: str,
    image: LargeImage,
    digest: str,
    folder: Path,
    predictor: Predictor,
    *,
    plan: Callable[..., Grid] = plan_blocks,
    measure: Measure | None = None,
    threads: int = 1,
    timed: Callable[[str], AbstractContextManager] = nullcontext,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> LargePrediction:
    """Predict a picture by blocks.

    Parameters
    ----------
    name, digest : str
        Name of the results, and SHA-256 of the picture's content.
    folder : Path
        Where the blocks are kept; remove it once the results are written. Blocks of an earlier call on the same content
        with the same settings are not done again.
    predictor : Predictor
        If it looks for the diameter of the nuclei, it does so in a sample of the picture.
    plan : callable
        ``plan(shape, divisor, margin, scale) -> Grid``
    measure : Measure, optional
        Fills the tables of the fragments.
    threads : int
        How many blocks to decode at once.
    timed : callable
        Name of a stage -> context that measures its time.
    report : callable
        Called after each block with the number of finished blocks, those of an earlier call included, and of all.

    Raises
    ------
    ImageError
        If a part of the file cannot be read.
    """
    work = open_work(image, digest, folder, predictor, plan=plan, measure=measure, timed=timed)
    work.run(threads, report)
    return work.result(name)


def open_work(
    image: LargeImage,
    digest: str,
    folder: Path,
    predictor: Predictor,
    *,
    plan: Callable[..., Grid] = plan_blocks,
    measure: Measure | None = None,
    timed: Callable[[str], AbstractContextManager] = nullcontext,
) -> "Work":
    """Plan the blocks of a picture, or go on with those of an earlier call; arguments as of `predict_large`."""
    # The version, because blocks of an earlier one may hold other measurements.
    identity = {
        "version": __version__,
        "sha256": digest,
        "settings": predictor.settings,
        "measured": measure is not None,
    }
    store = BlockStore(folder, identity)
    engine = StoppableEngine(predictor.engine)
    predictor = predictor.with_engine(engine)
    with timed("survey"):
        survey = store.recall("survey") or store.remember("survey", _survey(image, predictor))
    if survey["gaps"]:
        image = image.filled(survey["background"], survey["gaps"])
    if survey["grey"]:
        image = image.as_grey(survey["single"])
    if predictor.at is not None:
        predictor = predictor.at(Fraction(survey["scale"]))
    predictor = replace(predictor, view=View(**survey["view"]))
    grid = plan(image.shape, predictor.divisor, predictor.margin, predictor.scale)
    store.open(grid)
    return Work(image, survey, grid, store, predictor, engine, measure, timed)


def _survey(image: LargeImage, predictor: Predictor) -> dict:
    """Measure the contrast of the whole picture, and find the best scale and view in the fullest sample."""
    grey, single, gaps = len(image.channel_names) > 1, 0, 0
    if grey and not is_all_colours(predictor.channel):
        found = find_single_channel(np.concatenate([part.reshape(-1, 1, 3) for part in _samples(image)]))
        if found is not None:
            image, single = image.as_grey(found), found
    background = np.zeros(len(image.channel_names), np.float32)
    if image.dtype.kind == "f":
        with image_errors(image.file):
            background = median_of(np.concatenate([part.reshape(-1, 1, part.shape[-1]) for part in _samples(image)]))

    def blocks() -> Iterator[np.ndarray]:
        nonlocal grey, gaps
        gaps = 0
        for block in image.blocks():
            gaps += count_gaps(block)
            filled = fill_gaps(block, background) if gaps else block
            grey = grey and (filled.shape[-1] == 1 or is_grey(filled))
            yield filled

    limits = predictor.normalisation.limits_of_blocks(blocks)
    survey: dict = {"limits": limits, "grey": grey, "single": single, "gaps": gaps, "background": background.tolist()}
    survey |= {"scale": str(predictor.scale), "diameter": None, "view": {}, "n_channels": 0}
    image = image.filled(survey["background"], gaps)
    place = fullest(predictor.normalisation.apply(sample, limits) for sample in _samples(image))
    sample = predictor.normalisation.apply(image.read(*list(windows(image.shape))[place]), limits)
    survey["appearance"] = asdict(look_at(sample))
    if predictor.search or predictor.trust:
        output = predictor.predict_at_best([sample], [image.pixel_size_um])[0]
        survey |= {"scale": str(output.predictor.scale), "diameter": output.diameter}
        survey |= {"view": asdict(output.predictor.view), "n_channels": output.channels.shape[-1]}
    return survey


def _samples(image: LargeImage) -> Iterator[np.ndarray]:
    """Read parts of a picture, evenly spread over it: (h, w, C) each."""
    return (image.read(rows, columns) for rows, columns in windows(image.shape))


@dataclass(frozen=True, eq=False)
class Work:
    """What is done to each block, and to all of them at the end."""

    image: LargeImage
    survey: dict
    grid: Grid
    store: BlockStore
    predictor: Predictor
    engine: StoppableEngine
    measure: Measure | None
    timed: Callable[[str], AbstractContextManager]

    @property
    def missing(self) -> list[Block]:
        """The blocks that are not finished."""
        return [block for block in self.grid if not self.store.is_finished(block)]

    def run(self, threads: int, report: Callable[[int, int], None]) -> None:
        """Do the missing blocks; see `predict_large`."""
        for done, total in self.steps(threads):
            report(done, total)

    def steps(self, threads: int) -> Iterator[tuple[int, int]]:
        """Do the missing blocks; yield how many are finished, and of how many, after each."""
        blocks, total = self.missing, len(self.grid)
        for done, _ in enumerate(self._run(blocks, threads), total - len(blocks) + 1):
            yield done, total

    def do(self, block: Block) -> None:
        """Do one block; those above it and to its left must be finished.

        A block that another process has finished may be done again, with the same content, if that process ended before
        it said so. Then the edges that it needs may be gone.
        """
        try:
            channels = self.predict(block, lambda: self.read(block))
            self.store.write_edges(block, channels)
            self.decode(block, channels)
        except FileNotFoundError:
            if not self.store.is_kept(block):
                raise

    def result(self, name: str) -> LargePrediction:
        """Stitch the blocks, all of which must be finished, to the prediction of the picture."""
        fragments = {block.place: self.store.read_fragments(block) for block in self.grid}
        with self.timed("stitch"):
            stitches = stitch(self.store, self.grid, fragments)
        scale, scores, verdict = float(self.predictor.scale), None, None
        if self.predictor.trust:
            evidence = merge_evidence(self.grid, fragments, stitches)
            scores = self.predictor.trust.scores(evidence)
            verdict = self.predictor.trust.judge(
                evidence, Appearance(**self.survey["appearance"]), scale, self.predictor.view.name
            )
            numbers, scores = self.predictor.trust.select(scores)
            stitches = replace(stitches, nucleus=numbers[stitches.nucleus].astype(np.uint32))
        diameter = self.survey["diameter"]
        return LargePrediction(
            name, self.image, self.grid, fragments, stitches, diameter, scale, self.store, scores, verdict
        )

    def _run(self, blocks: list[Block], threads: int) -> Iterator[None]:
        """Do some blocks, overlapped; yield after each."""
        with (
            ThreadPoolExecutor(1, "read") as reader,
            ThreadPoolExecutor(self.engine.streams, "predict") as streams,
            ThreadPoolExecutor(threads, "decode") as decoders,
        ):
            ahead = (
                (block, streams.submit(self.predict, block, reader.submit(self.read, block).result)) for block in blocks
            )
            decoding: deque[Future] = deque()
            try:
                # One more than there are streams, so that none of them waits while a block is passed on.
                predicting = deque(islice(ahead, self.engine.streams + 1))
                while predicting:
                    # In the order of the grid: a block is decoded once the edges above and to its left are stored.
                    block, predicted = predicting.popleft()
                    channels = predicted.result()
                    predicting.extend(islice(ahead, 1))
                    self.store.write_edges(block, channels)
                    while len(decoding) >= threads:
                        yield decoding.popleft().result()
                    decoding.append(decoders.submit(self.decode, block, channels))
                while decoding:
                    yield decoding.popleft().result()
            finally:
                # On Ctrl-C, too: blocks in decoding are finished, the others are left for the next call.
                self.engine.stop()
                for pool in (reader, streams, decoders):
                    pool.shutdown(cancel_futures=True)

    def read(self, block: Block) -> np.ndarray:
        """Read and normalise the tile, without the padding: (h, w, 3) float32."""
        with self.timed("read"):
            pixels = self.image.read(block.rows.tile.tile, block.columns.tile.tile)
            return self.predictor.normalisation.apply(pixels, tuple(self.survey["limits"]))

    def predict(self, block: Block, tile: Callable[[], np.ndarray]) -> np.ndarray:
        """Run the network and return the channels of the valid region: (h, w, C) float32."""
        prepared = tile()
        if self.survey["appearance"]["kind"] == STAINED and self.survey["n_channels"] and is_glass(prepared):
            valid = block.rows.tile.valid, block.columns.tile.valid
            return np.zeros((*(part.stop - part.start for part in valid), self.survey["n_channels"]), np.float32)
        with self.timed("predict"):
            # The block is already as large as the network may be given.
            channels = self.predictor.predict_alone(prepared, largest_tile=sys.maxsize)
        # A copy, so that the margins are freed.
        return channels[block.rows.tile.valid_in_tile, block.columns.tile.valid_in_tile].copy()

    def decode(self, block: Block, channels: np.ndarray) -> None:
        """Label the window and store its fragments."""
        with self.timed("decode"):
            window = self.store.read_window(block, channels)
            labels = self.predictor.decode(window, cut=edge_of(block, self.grid))
            labels, fragments = find_fragments(block, self.grid, labels)
            if self.predictor.trust:
                fragments = replace(fragments, evidence=self.predictor.trust.gather(window, labels))
            del window, channels
            if self.measure is not None:
                pixels = self.image.read_measured(block.rows.window, block.columns.window)
                fragments = replace(fragments, table=self.measure(labels, pixels, self.image.measured_names))
        with self.timed("write"):
            self.store.write_block(block, labels, fragments)
