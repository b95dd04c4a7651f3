"""Write Kaggle's submission.csv: a row of run lengths for each nucleus."""

import numpy as np

from segmentation.batch.outputs import TableOutput
from segmentation.data.run_lengths import encode_run_lengths

COLUMNS = ("ImageId", "EncodedPixels")


def submission_rows(image: str, labels: np.ndarray) -> list[tuple[str, str]]:
    """Return the rows of an image; one with nothing after the name if the image has no nuclei."""
    return [(image, text) for text in encode_run_lengths(labels) or [""]]


OUTPUT = TableOutput("submission.csv", COLUMNS, lambda p: submission_rows(p.name, p.labels))
