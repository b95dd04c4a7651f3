"""nuclei.csv: a row a nucleus."""

from collections.abc import Sequence

from segmentation.batch.outputs import Prediction, TableOutput
from segmentation.results.large_tables import large_table_rows
from segmentation.results.tables import COLUMNS, measure_nuclei, table_rows


def _rows(prediction: Prediction) -> list[Sequence[str]]:
    image = prediction.image
    measured = measure_nuclei(prediction.labels, image.pixels, image.channel_names, image.pixel_size_um)
    return table_rows(prediction.name, measured)


OUTPUT = TableOutput("nuclei.csv", COLUMNS, _rows, measure_nuclei, large_table_rows)
