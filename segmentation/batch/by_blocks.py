"""Images too large to be read whole: each is read, predicted and written by blocks, one image after another."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from segmentation.batch.call import Call, Outcome
from segmentation.batch.inputs import Input
from segmentation.batch.outputs import TableOutput, check_outputs
from segmentation.batch.records import RECORDS
from segmentation.data.images import ImageError
from segmentation.data.large import content_digest, open_large
from segmentation.large.blocks import BLOCKS_AT_ONCE
from segmentation.prediction.cores import streams_for
from segmentation.prediction.predictor import Predictor


def predict_by_blocks(
    call: Call, sources: Sequence[Input], threads: int, report: Callable[[str, int, int], None]
) -> Iterator[Outcome]:
    """Predict large images and write their results; yield the outcome of each, failed or not.

    `threads` blocks are decoded at once, and `report` is that for blocks of `predict_folder`.
    """
    predictor = None
    for source in sources:
        try:
            if predictor is None:  # one engine for all of these images, which runs several blocks at once
                engine = call.predictor.engine.with_streams(streams_for(BLOCKS_AT_ONCE))
                predictor = call.predictor.with_engine(engine)
            outcome = _predict(call, source, predictor, threads, partial(report, source.name))
        except Exception as error:
            outcome = call.fail(source, error)
        yield outcome


def _predict(
    call: Call, source: Input, predictor: Predictor, threads: int, report: Callable[[int, int], None]
) -> Outcome:
    # Imported here, because most calls have no such image.
    from segmentation.large.predict import predict_large

    image = None
    if isinstance(source.file, Path):
        image = open_large(source.file, predictor.channel, call.largest_whole)
    if image is None:
        raise ImageError(f"{source.file} was replaced by a smaller image during the call; run the same command again")
    try:
        with call.timed("read"):
            sha256 = content_digest(image.file)
        finished = call.find_finished(source, sha256)
        if finished:
            return finished
        image = call.with_pixel_size(image)
        check_outputs(image, call.outputs)
        measures = [output.measure for output in call.outputs.values() if isinstance(output, TableOutput)]
        blocks = call.folder / RECORDS / f"{source.name}.blocks"
        prediction = predict_large(
            source.name,
            image,
            sha256,
            blocks,
            predictor,
            measure=next(filter(None, measures), None),
            threads=threads,
            timed=call.timed,
            report=report,
        )
        outcome = call.save(source, sha256, prediction)
        shutil.rmtree(blocks)
        return outcome
    finally:
        image.close()
