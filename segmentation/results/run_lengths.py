"""Kaggle's submission.csv: a row of run lengths for each nucleus."""

import numpy as np

from segmentation.data.run_lengths import encode_run_lengths

# Header of submission.csv.
COLUMNS = ("ImageId", "EncodedPixels")


def submission_rows(image: str, labels: np.ndarray) -> list[tuple[str, str]]:
    """The rows of an image in submission.csv; one with nothing after the name if the image has no nuclei."""
    return [(image, text) for text in encode_run_lengths(labels) or [""]]
