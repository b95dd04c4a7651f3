import numpy as np
import pytest
import tifffile

from segmentation.batch.outputs import ImageOutput, LargeImageError, TableOutput, check_outputs
from segmentation.data.large import open_large


def test_outputs_that_are_not_written_by_blocks_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((40, 50), np.uint8))
    image = open_large(tmp_path / "cells.tif", largest_whole=0)
    outputs = {
        "labels": ImageOutput("labels", ".tif", None, write_large=print),
        "rois": ImageOutput("rois", ".zip", None),
        "rle": TableOutput("submission.csv", (), None),
    }
    with pytest.raises(LargeImageError, match=r"cells\.tif has 50 x 40 pixels and is done by blocks, of which rois"):
        check_outputs(image, outputs)
