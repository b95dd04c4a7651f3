"""Which images show one field, and whether the split keeps them together."""

import pandas as pd
from matplotlib.figure import Figure

from segmentation.exploration.style import bars_by_kind, frame, legend, plain
from segmentation.exploration.survey import Survey
from segmentation.exploration.wording import percent, quantity, short


def draw(survey: Survey) -> Figure:
    """Draw how many images share a field with how many others."""
    figure, ((axes,),) = frame(6.5, 3.8)
    table = pd.crosstab(field_sizes(survey), survey.images["kind"])
    plain(axes, "Images that show one field", "Images of the same field, itself included", "Images")
    bars_by_kind(axes, table, [f"{size}" for size in table.index])
    legend(axes)
    return figure


def field_sizes(survey: Survey) -> pd.Series:
    """Return the number of images of the field of each image, itself included."""
    return survey.images.groupby("field")["id"].transform("size")


def divided_fields(survey: Survey) -> list[list[str]]:
    """Return the ids of the images of each field that is in several subsets."""
    fields = survey.images.groupby("field", sort=False)
    return [own["id"].tolist() for _, own in fields if own["subset"].nunique() > 1]


def describe(survey: Survey) -> str:
    """Say how many images show the same field as others, and whether the split divides any field."""
    sizes, divided = field_sizes(survey), divided_fields(survey)
    sentence = "Every image shows a field of its own"
    if (sizes > 1).any():
        shared = percent((sizes > 1).mean())
        sentence = f"{shared} of the images share a field with others (up to {sizes.max()} tiles of one)"
    example = f" ({', '.join(short(sample_id) for sample_id in divided[0][:2])} …)" if divided else ""
    return f"{sentence}; this split divides {quantity(len(divided), 'field') if divided else 'no field'}{example}."
