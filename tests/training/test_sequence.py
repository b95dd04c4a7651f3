import numpy as np
import pytest

from segmentation.data.cache import prepare
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.sequence import NucleiSequence, draw_probabilities


def batches_of(sequence, epoch, indices=(0, 3, 15)):
    sequence.epoch = epoch
    return [sequence[index] for index in indices]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def make(images, **settings):
    return NucleiSequence(images, "centre_offsets", **({"batch_size": 4, "crop_size": 32, "seed": 11} | settings))


@pytest.fixture
def of_kinds(in_memory):
    """Images of which nothing matters but the kind."""

    def of(*kinds):
        return in_memory([(np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), int), kind) for kind in kinds])

    return of


class Marked:
    """In place of augmentation: the crop is the number that the image holds, and one draw of the generator."""

    def __call__(self, pixels, label_map, rng):
        label_map = np.zeros((8, 8), np.int32)
        crop = np.full((8, 8, 3), pixels[0, 0, 0], np.uint8)
        crop[0, 0] = rng.integers(256, size=3)
        return crop, label_map


def test_batches_are_what_the_network_takes(drawn_images):
    images, targets = make(drawn_images)[0]
    assert images.shape == (4, 32, 32, 3) and images.dtype == np.float32
    assert targets.shape == (4, 32, 32, len(ENCODINGS["centre_offsets"].channels)) and targets.dtype == np.float32
    assert 0 <= images.min() and 0.5 < images.max() <= 1
    assert set(np.unique(targets[..., 0])) == {0, 1}


def test_targets_are_those_of_the_augmented_label_map(drawn_images):
    class Kept:
        """Hands out crops without changing them, and remembers."""

        def __init__(self):
            self.crops = []

        def __call__(self, pixels, label_map, rng):
            self.crops.append((pixels[:32, :32], label_map[:32, :32]))
            return self.crops[-1]

    kept = Kept()
    images, targets = make(drawn_images, workers=1, augmentation=lambda: kept)[2]
    for (pixels, label_map), x, y in zip(kept.crops, images, targets, strict=True):
        np.testing.assert_array_equal(np.rint(x * 255).astype(np.uint8), pixels)
        np.testing.assert_array_equal(y, ENCODINGS["centre_offsets"].encode(label_map))


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_threads_gives_the_same_batches(drawn_images, workers):
    for epoch in (0, 7):
        assert_same(
            batches_of(make(drawn_images, workers=1), epoch), batches_of(make(drawn_images, workers=workers), epoch)
        )


def test_order_of_asking_does_not_matter(drawn_images):
    forwards, backwards = make(drawn_images), make(drawn_images)
    backwards[1], backwards[0]  # as Keras does, to learn the signature
    last_first = batches_of(backwards, 2, (15, 3, 0))
    assert_same(batches_of(forwards, 2, (0, 3, 15)), last_first[::-1])


def test_epochs_places_and_seeds_differ(drawn_images):
    sequence = make(drawn_images)
    first, second = batches_of(sequence, 0, (0, 1))
    (later,) = batches_of(sequence, 1, (0,))
    (other,) = batches_of(make(drawn_images, seed=12), 0, (0,))
    for batch in (second, later, other):
        assert all((batch[0][i] != first[0][j]).any() for i in range(4) for j in range(4))


def test_a_resumed_epoch_has_the_batches_that_it_would_have_had(drawn_images):
    undisturbed, resumed = make(drawn_images), make(drawn_images)
    for epoch in range(3):
        before = batches_of(undisturbed, epoch)
    assert_same(before, batches_of(resumed, 2))


def test_images_of_a_cache_on_disk_give_the_same_batches(tmp_path, write_drawn):
    write_drawn(tmp_path / "data", 4)
    data_set = find_data_set(tmp_path / "data")
    in_memory = prepare(data_set, Normalisation(), tmp_path / "cache").images
    on_disk = prepare(data_set, Normalisation(), tmp_path / "cache", memory_limit=0).images
    assert isinstance(on_disk._pixels, np.memmap) and not isinstance(in_memory._pixels, np.memmap)
    assert_same(batches_of(make(in_memory), 1), batches_of(make(on_disk, workers=4), 1))


def test_probabilities_give_a_kind_the_square_root_of_its_share():
    kinds = ["fluorescence"] * 64 + ["stained"] * 16 + ["smear"]
    probabilities = draw_probabilities(kinds, [64] * 81)
    assert probabilities.sum() == pytest.approx(1)
    of_kind = {kind: sum(p for p, k in zip(probabilities, kinds, strict=True) if k == kind) for kind in set(kinds)}
    assert of_kind == pytest.approx({"fluorescence": 8 / 13, "stained": 4 / 13, "smear": 1 / 13})
    assert np.ptp(probabilities[:64]) == 0


def test_order_of_kinds_does_not_matter():
    probabilities = draw_probabilities(["b", "a", "b", "b", "b"], [100] * 5)
    assert probabilities == pytest.approx([1 / 6, 1 / 3, 1 / 6, 1 / 6, 1 / 6])


def test_a_large_image_is_drawn_as_often_as_its_side_is_long_and_its_kind_as_often_as_ever():
    probabilities = draw_probabilities(["a", "a", "a", "a", "b"], [256**2, 256**2, 512**2, 1024**2, 2048**2])
    assert probabilities == pytest.approx([2 / 3 / 8, 2 / 3 / 8, 2 / 3 / 4, 2 / 3 / 2, 1 / 3])


@pytest.mark.parametrize("epoch", range(4))
def test_draws_of_an_epoch_are_spread_evenly(of_kinds, epoch):
    kinds = ["fluorescence"] * 50 + ["stained"] * 9 + ["smear"] * 2
    sequence = make(of_kinds(*kinds), batch_size=5)
    drawn = sequence.draw_epoch(epoch)
    assert len(drawn) == 5 * len(sequence) == 80
    expected = 80 * draw_probabilities(kinds, sequence.images.areas)
    assert np.abs(np.bincount(drawn, minlength=61) - expected).max() < 1


def test_draws_differ_between_epochs_and_are_shuffled(of_kinds):
    sequence = make(of_kinds(*["a"] * 40, *["b"] * 3))
    first, second = sequence.draw_epoch(0), sequence.draw_epoch(1)
    assert (first != second).any()
    assert (np.diff(first) < 0).any()
    np.testing.assert_array_equal(first, make(of_kinds(*["a"] * 40, *["b"] * 3)).draw_epoch(0))


def test_every_image_is_drawn_in_some_epoch(of_kinds):
    # With square roots, the draws of one epoch cannot cover a kind of very many images.
    sequence = make(of_kinds(*["a"] * 100, *["b"] * 4), batch_size=1)
    seen = set()
    for epoch in range(12):
        seen |= set(sequence.draw_epoch(epoch).tolist())
    assert seen == set(range(104))


def test_crops_are_cut_from_the_images_that_were_drawn(in_memory):
    images = in_memory([(np.full((2, 2, 1), 10 * i, np.uint8), np.zeros((2, 2), int), "a") for i in range(1, 21)])
    sequence = make(images, batch_size=3, augmentation=Marked)
    sequence.epoch = 5
    for index in (0, 4, len(sequence) - 1):
        x, _ = sequence[index]
        expected = 10 * (1 + sequence.draw_epoch(5)[3 * index : 3 * index + 3])
        np.testing.assert_array_equal(np.rint(255 * x[:, 4, 4, 0]), expected)


@pytest.mark.parametrize(("images", "batch_size", "expected"), [(1, 8, 16), (128, 8, 16), (129, 8, 17), (200, 2, 100)])
def test_length_is_one_pass_over_the_images_or_sixteen_steps(of_kinds, images, batch_size, expected):
    assert len(make(of_kinds(*["a"] * images), batch_size=batch_size)) == expected


def test_one_single_image_trains(of_kinds):
    assert (make(of_kinds("a")).draw_epoch(0) == 0).all()


def test_a_failing_thread_is_heard_of(drawn_images):
    class Broken:
        def __call__(self, pixels, label_map, rng):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        make(drawn_images, augmentation=Broken)[0]
