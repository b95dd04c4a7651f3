"""Which fragments are one nucleus, by hand-drawn strips."""

import numpy as np

from segmentation.large.stitching import match

WHOLE, CUT = False, True


def strip(*spans):
    """A (10, 40) strip of labels: (label, first column, last column) each."""
    labels = np.zeros((10, 40), int)
    for label, first, last in spans:
        labels[:, first:last] = label
    return labels


def matched(one, other, one_is_cut, other_is_cut):
    return match(one, other, np.array(one_is_cut, bool), np.array(other_is_cut, bool)).tolist()


def test_pieces_that_agree_are_one_nucleus():
    one, other = strip((1, 2, 8), (2, 15, 25)), strip((2, 2, 8), (1, 15, 25))
    assert sorted(matched(one, other, [WHOLE] * 2, [WHOLE] * 2)) == [[1, 2], [2, 1]]


def test_pieces_that_nearly_agree_are_one_nucleus():
    assert matched(strip((1, 10, 20)), strip((1, 11, 22)), [WHOLE], [WHOLE]) == [[1, 1]]


def test_whole_pieces_that_disagree_stay_apart():
    assert matched(strip((1, 10, 30)), strip((1, 10, 19), (2, 19, 30)), [WHOLE], [WHOLE, WHOLE]) == [[1, 2]]
    assert matched(strip((1, 10, 20)), strip((1, 15, 35)), [WHOLE], [WHOLE]) == []


def test_cut_pieces_join_the_piece_that_covers_most_of_them():
    # The block that saw it whole has the say; the other has divided it.
    assert sorted(matched(strip((1, 0, 9), (2, 9, 20)), strip((1, 0, 20)), [CUT, CUT], [WHOLE])) == [[1, 1], [2, 1]]
    # And here the other has joined two.
    assert matched(strip((1, 0, 20)), strip((1, 0, 12), (2, 12, 20)), [CUT], [WHOLE, WHOLE]) == [[1, 1]]


def test_nothing_to_match():
    assert matched(strip(), strip((1, 3, 9)), [], [WHOLE]) == []
    assert matched(strip((1, 3, 9)), strip((1, 9, 12)), [CUT], [CUT]) == []
