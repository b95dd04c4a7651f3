"""Choose the images of one subset of a split."""

from dataclasses import replace

from segmentation.data.splits import SUBSETS, read_split
from segmentation.evaluation.folders import EvaluationError


def choose_subset(images, split, subset):
    """Keep the images of one subset, with kind and group as the split has them.

    Parameters
    ----------
    images : sequence of folders.TrueImage
    split : Path
        CSV with the columns id and subset and, if known, kind and group.
    subset : str
        "train", "val" or "test".

    Returns
    -------
    chosen : list of folders.TrueImage
        In the order of `images`; at least one.
    absent : list of str
        Ids of the subset that are not among the images.

    Raises
    ------
    EvaluationError
        If there is no such subset, or none of its images is there.
    """
    if subset not in SUBSETS:
        raise EvaluationError(f"--subset is {subset!r}; expected one of {', '.join(SUBSETS)}.")
    rows = {sample_id: row for sample_id, row in read_split(split).items() if row.subset == subset}
    if not rows:
        raise EvaluationError(f"{split} has no image in the subset {subset}.")
    chosen = [
        replace(image, kind=rows[image.id].kind or image.kind, group=rows[image.id].group or image.group)
        for image in images
        if image.id in rows
    ]
    if not chosen:
        raise EvaluationError(f"none of the {len(rows)} images in the subset {subset} of {split} is in the truth.")
    return chosen, sorted(rows.keys() - {image.id for image in chosen})
