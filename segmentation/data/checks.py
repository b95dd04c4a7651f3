"""Everything that is wrong with a data set, all at once: what training would not notice, and what would corrupt it.

Fatal is what would teach or score something false: a sample that cannot be read or whose masks are not its own, masks
that contradict each other (more than a tenth of the foreground claimed twice), the same picture or tiles of one field
in two subsets, a subset that the split names but that the data lack. An image without nuclei is no more than a warning:
empty images are legitimate, and a network that never saw one finds nuclei everywhere.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from segmentation.data import problems
from segmentation.data.decoding import load_samples
from segmentation.data.fingerprints import Fingerprint
from segmentation.data.problems import Problem
from segmentation.data.samples import Sample
from segmentation.data.splits import SUBSETS, SplitRow


def check_samples(
    samples: Sequence[Sample],
    split: Mapping[str, SplitRow] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Decode a whole data set and report all of its problems.

    Who decodes the samples anyway uses `load_samples` and `check_across` instead, and gets the same list.

    Parameters
    ----------
    samples : sequence of Sample
    split : mapping of str to SplitRow, optional
        The split to check against.
    progress : callable, optional
        Called after each sample with the number done and the number of all.

    Returns
    -------
    list of Problem
        Those of single samples in their order, then those between samples.
    """
    found: list[Problem] = []
    fingerprints: dict[str, Fingerprint | None] = {}
    for done, loaded in enumerate(load_samples(samples), 1):
        found += loaded.problems
        fingerprints[loaded.sample.id] = loaded.fingerprint
        if progress:
            progress(done, len(samples))
    return found + check_across(samples, fingerprints, split)


def check_across(
    samples: Sequence[Sample],
    fingerprints: Mapping[str, Fingerprint | None],
    split: Mapping[str, SplitRow] | None = None,
) -> list[Problem]:
    """Compare samples with one another and with a split.

    Parameters
    ----------
    samples : sequence of Sample
    fingerprints : mapping of str to Fingerprint or None
        By sample id, as `load_samples` yields them; None where the image was unreadable.
    split : mapping of str to SplitRow, optional

    Returns
    -------
    list of Problem
    """
    split = split or {}
    files = {sample.id: str(sample.image or sample.id) for sample in samples}
    return [
        *_same_pictures(files, fingerprints, split),
        *(_against_split(files, split) if split else ()),
    ]


def _same_pictures(
    files: Mapping[str, str], fingerprints: Mapping[str, Fingerprint | None], split: Mapping[str, SplitRow]
) -> list[Problem]:
    by_digest = defaultdict(list)
    for sample_id in files:
        marks = fingerprints.get(sample_id)
        if marks is not None:
            by_digest[marks.digest].append(sample_id)
    found = []
    for first, *others in by_digest.values():
        for other in others:
            sides = [split[sample_id].subset for sample_id in (first, other) if sample_id in split]
            divided = len(set(sides)) > 1
            detail = f"as {files[first]}" + (f"; {sides[1]} and {sides[0]}" if divided else "")
            what = problems.PICTURE_ON_BOTH_SIDES if divided else problems.SAME_PICTURE
            found.append(Problem(files[other], other, what, divided, detail))
    return found


def _against_split(files: Mapping[str, str], split: Mapping[str, SplitRow]) -> list[Problem]:
    found = []
    members = defaultdict(lambda: defaultdict(list))  # group -> subset -> ids
    for sample_id, file in files.items():
        row = split.get(sample_id)
        if row is None:
            found.append(Problem(file, sample_id, problems.NOT_IN_SPLIT, False))
        elif row.group is not None:
            members[row.group][row.subset].append(sample_id)
    for group, subsets in members.items():
        if len(subsets) > 1:
            first = next(iter(subsets.values()))[0]
            counts = ", ".join(f"{len(ids)} in {subset}" for subset, ids in subsets.items())
            found.append(Problem(files[first], first, problems.GROUP_ON_BOTH_SIDES, True, f"group {group}: {counts}"))
    for sample_id, row in split.items():
        if sample_id not in files:
            found.append(Problem(sample_id, sample_id, problems.NOT_IN_DATA, False, row.subset))
    present = {split[sample_id].subset for sample_id in files if sample_id in split}
    for subset in SUBSETS:
        count = sum(row.subset == subset for row in split.values())
        if subset not in present and (count or subset != "test"):
            detail = f"the split names {count}, none of them is in the data"
            # Without a test subset one can still train; scoring it then says that there is none.
            found.append(Problem(subset, "", problems.EMPTY_SUBSET, subset != "test", detail))
    return found
