"""Decode images and label maps, in threads, and report what is wrong with each."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from segmentation.data import problems
from segmentation.data.fingerprints import Fingerprint, fingerprint
from segmentation.data.fit import find_misfit
from segmentation.data.images import Image, ImageError
from segmentation.data.masks import reason
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.samples import Sample

# Decoded samples that may wait for the consumer, for each thread: evens out large and small images.
AHEAD = 3


@dataclass(frozen=True)
class LoadedSample:
    """A decoded sample and everything that is wrong with it.

    `image` and `fingerprint` are None if the image is unreadable. `labels`, (H, W) int32, is None then too, and if
    there are no masks; see `Sample.examine_labels`.
    """

    sample: Sample
    image: Image | None
    labels: np.ndarray | None
    fingerprint: Fingerprint | None
    problems: tuple[Problem, ...]

    @property
    def is_usable(self) -> bool:
        """Whether it can be trained on: it has an image and a label map and no fatal problem."""
        complete = self.image is not None and self.labels is not None
        return complete and not any(problem.fatal for problem in self.problems)


def load_samples(samples: Sequence[Sample], threads: int | None = None) -> Iterator[LoadedSample]:
    """Decode samples in threads and yield them in their order.

    Decoding releases the interpreter lock, so threads run in parallel. At most three decoded samples a thread wait for
    the consumer, which bounds the memory. A sample that cannot be read is yielded with its problems; nothing is raised.

    Parameters
    ----------
    threads : int, optional
        Defaults to the number of processors, at most 8.
    """
    threads = threads or min(8, os.cpu_count() or 1)
    waiting: deque[Future[LoadedSample]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="load_samples") as pool:
        try:
            for sample in samples:
                if len(waiting) >= threads * AHEAD:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(load_sample, sample))
            while waiting:
                yield waiting.popleft().result()
        finally:
            # After Ctrl-C, or if the consumer stops early, do not wait for the rest.
            for future in waiting:
                future.cancel()


def load_sample(sample: Sample) -> LoadedSample:
    """Decode one sample; raises nothing, see `load_samples`."""
    found = list(sample.problems)
    image = marks = None
    if sample.image is not None:
        try:
            image = sample.read_image()
            marks = fingerprint(image.pixels)
            if image.gaps:
                found.append(Problem(str(sample.image), sample.id, problems.GAPS, False, f"{image.gaps:,} values"))
        except (ImageError, DatasetError, OSError) as error:
            found.append(
                Problem(str(sample.image), sample.id, problems.UNREADABLE_IMAGE, True, reason(sample.image, error))
            )
    labels, wrong = sample.examine_labels(image.pixels.shape[:2] if image else None)
    if image and marks and labels is not None and labels.any() and not any(problem.fatal for problem in wrong):
        misfit = find_misfit(image.pixels, labels, marks.kind)
        if misfit:
            wrong.append(Problem(str(sample.image), sample.id, misfit[0], False, misfit[1]))
    return LoadedSample(sample, image, labels if image else None, marks, (*found, *wrong))
