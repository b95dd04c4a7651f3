"""Decode a data set once: images, label maps, their problems and what the comparison of images needs, in one pass."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from segmentation.data import problems
from segmentation.data.fingerprints import Fingerprint, fingerprint
from segmentation.data.images import Image, ImageError
from segmentation.data.masks import reason
from segmentation.data.problems import DatasetError, Problem
from segmentation.data.samples import Sample

# Decoded samples that wait for the consumer, for each thread: enough to even out large and small images.
AHEAD = 3


@dataclass(frozen=True)
class LoadedSample:
    """A decoded sample.

    Attributes
    ----------
    sample : Sample
    image : Image or None
        None if it could not be read.
    labels : (H, W) int32 or None
        0 = background, 1..n = nuclei, see `Sample.examine_labels`; None if there are none or the image is unreadable.
    fingerprint : Fingerprint or None
        For `find_groups` and `check_across`; None if the image could not be read.
    problems : tuple of Problem
        Everything that is wrong with this sample by itself.
    """

    sample: Sample
    image: Image | None
    labels: np.ndarray | None
    fingerprint: Fingerprint | None
    problems: tuple[Problem, ...]

    @property
    def is_usable(self) -> bool:
        """Whether one can train on it: an image and a label map, without a fatal problem."""
        complete = self.image is not None and self.labels is not None
        return complete and not any(problem.fatal for problem in self.problems)


def load_samples(samples: Sequence[Sample], threads: int | None = None) -> Iterator[LoadedSample]:
    """Decode samples in threads and yield them in their order.

    Decoding releases the interpreter, so that threads run side by side. Not more than three decoded samples a thread
    wait for the consumer, which bounds the memory whatever the size of the data set. A sample that cannot be read is
    yielded too, with its problems: nothing is raised and nothing is left out.

    Parameters
    ----------
    samples : sequence of Sample
    threads : int, optional
        Defaults to the number of processors, at most 8.

    Yields
    ------
    LoadedSample

    Examples
    --------
    Prepare for training and check in the same pass:

    >>> fingerprints, found = {}, []                                    # doctest: +SKIP
    >>> for loaded in load_samples(samples):                            # doctest: +SKIP
    ...     found += loaded.problems
    ...     fingerprints[loaded.sample.id] = loaded.fingerprint
    ...     if loaded.is_usable:
    ...         keep(loaded.image.pixels, loaded.labels)
    >>> found += check_across(samples, fingerprints, split)             # doctest: +SKIP
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
            # A consumer that stops early, or Ctrl-C, must not wait for what nobody will look at.
            for future in waiting:
                future.cancel()


def load_sample(sample: Sample) -> LoadedSample:
    """Decode one sample and note everything that is wrong with it."""
    found = list(sample.problems)
    image = marks = None
    if sample.image is not None:
        try:
            image = sample.read_image()
            marks = fingerprint(image.pixels)
        except (ImageError, DatasetError, OSError) as error:
            found.append(
                Problem(str(sample.image), sample.id, problems.UNREADABLE_IMAGE, True, reason(sample.image, error))
            )
    labels, wrong = sample.examine_labels(image.pixels.shape[:2] if image else None)
    return LoadedSample(sample, image, labels if image else None, marks, (*found, *wrong))
