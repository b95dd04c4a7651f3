"""Write Kaggle's submission.csv: a row of run lengths for each nucleus."""

import numpy as np

from segmentation.batch.outputs import TableOutput

COLUMNS = ("ImageId", "EncodedPixels")


def encode_run_lengths(labels: np.ndarray) -> list[str]:
    """Encode a label map as the run lengths of the 2018 Data Science Bowl.

    Parameters
    ----------
    labels : (H, W) ndarray of integers
        0 is background.

    Returns
    -------
    list of str
        "start length start length ..." for each nucleus, in the order of the labels. Starts count from 1, down the
        columns first.

    Examples
    --------
    >>> encode_run_lengths(np.array([[1, 0, 1], [1, 2, 0]]))
    ['1 2 5 1', '4 1']
    """
    pixels = labels.T.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=0))
    lengths = np.diff(starts, append=len(pixels))
    owners = pixels[starts]
    # Sorted by nucleus, in the order of the image within each; the runs of background come first and are dropped.
    order = np.argsort(owners, kind="stable")[np.count_nonzero(owners == 0) :]
    runs = np.stack([starts[order] + 1, lengths[order]], axis=1)
    limits = np.flatnonzero(np.diff(owners[order])) + 1
    return [" ".join(map(str, run.ravel().tolist())) for run in np.split(runs, limits)] if len(runs) else []


def submission_rows(image: str, labels: np.ndarray) -> list[tuple[str, str]]:
    """Return the rows of an image; one with nothing after the name if the image has no nuclei."""
    return [(image, text) for text in encode_run_lengths(labels) or [""]]


OUTPUT = TableOutput("submission.csv", COLUMNS, lambda p: submission_rows(p.name, p.labels))
