from fractions import Fraction

import pytest

from segmentation.prediction.planning import plan_tiles

DIVISOR, RADIUS = 8, 18


@pytest.mark.parametrize("largest_tile", [56 * 56, 64 * 80, 1000 * 40, 10**7])
@pytest.mark.parametrize("size", [(8, 8), (64, 64), (800, 56), (1000, 2000), (168, 1608)])
def test_a_plan_covers_the_image_once_with_equal_tiles_on_the_grid(size, largest_tile):
    rows, columns = plan_tiles(size, DIVISOR, RADIUS, largest_tile)
    for length, spans in zip(size, (rows, columns), strict=True):
        assert len({span.stop - span.start for span in spans}) == 1
        assert all(span.start % DIVISOR == 0 for span in spans)
        assert [span.valid_start for span in spans] == [0, *(span.valid_stop for span in spans[:-1])]
        assert spans[0].start == 0
        assert spans[-1].valid_stop == spans[-1].stop == length
        for span in spans:
            assert span.start == 0 or span.valid_start >= span.start + RADIUS
            assert span.stop == length or span.valid_stop <= span.stop - RADIUS
    assert (rows[0].stop - rows[0].start) * (columns[0].stop - columns[0].start) <= largest_tile


def test_small_images_go_whole_and_large_ones_waste_little():
    assert [len(spans) for spans in plan_tiles((1040, 1392), 16, 96)] == [1, 1]
    rows, columns = plan_tiles((10_000, 10_000), 16, 96)
    computed = len(rows) * (rows[0].stop - rows[0].start) * len(columns) * (columns[0].stop - columns[0].start)
    assert computed < 1.45 * 10_000**2
    # A long strip is cut across, not along.
    assert len(plan_tiles((304, 20_000), 16, 96)[0]) == 1


def test_tiles_too_small_for_the_margin_are_refused():
    with pytest.raises(ValueError, match="too small for a margin of 24"):
        plan_tiles((200, 200), DIVISOR, RADIUS, 48 * 48)


def lengths_and_starts(axes):
    return [(axis[0].stop - axis[0].start, [tile.start for tile in axis]) for axis in axes]


def test_plans_stay_as_they_are():
    """Of tiles, of enlarged pictures and of blocks: blocks that a killed call left on disk are used again."""
    assert lengths_and_starts(plan_tiles((3000, 4000), 16, 106)) == [
        (1152, [0, 928, 1856]),
        (1168, [0, 944, 1888, 2832]),
    ]
    enlarged = plan_tiles((1000, 1400), 16, 106, scale=Fraction(7, 4), shortest_valid=0)
    assert lengths_and_starts(enlarged) == [(576, [0, 448]), (768, [0, 640])]
    assert lengths_and_starts(plan_tiles((6000, 5000), 16, 106, 1408 * 1408, shortest_valid=256)) == [
        (1392, [0, 1152, 2304, 3456, 4608]),
        (1424, [0, 1184, 2384, 3584]),
    ]


def test_among_equally_good_plans_tiles_are_few_and_blocks_have_few_rows():
    tiles = plan_tiles((13248, 9504), 32, 109, 1408 * 1408)
    blocks = plan_tiles((13248, 9504), 32, 109, 1408 * 1408, shortest_valid=64)
    assert lengths_and_starts(tiles) != lengths_and_starts(blocks)
    computed = [
        len(rows) * (rows[0].stop - rows[0].start) * len(columns) * (columns[0].stop - columns[0].start)
        for rows, columns in (tiles, blocks)
    ]
    assert computed[0] == computed[1]
    assert len(tiles[0]) * len(tiles[1]) < len(blocks[0]) * len(blocks[1]) and len(blocks[0]) < len(tiles[0])
