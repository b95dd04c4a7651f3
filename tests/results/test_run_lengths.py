import numpy as np

from segmentation.results.run_lengths import submission_rows


def test_an_image_without_nuclei_has_one_empty_row():
    assert submission_rows("a", np.zeros((3, 4), int)) == [("a", "")]
    assert submission_rows("a", np.array([[1, 2]])) == [("a", "1 1"), ("a", "2 1")]
