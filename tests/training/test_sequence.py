import keras
import numpy as np
import pytest

from segmentation.data.cache import CachedImages, prepare
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.targets.encodings import ENCODINGS
from segmentation.training.sampling import draw_probabilities
from segmentation.training.sequence import CenterCrops, NucleiSequence, center_crop, feed

pytestmark = pytest.mark.slow


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
    images, targets = make(drawn_images, augmentation=kept)[2]
    for (pixels, label_map), x, y in zip(kept.crops, images, targets, strict=True):
        np.testing.assert_array_equal(np.rint(x * 255).astype(np.uint8), pixels)
        np.testing.assert_array_equal(y, ENCODINGS["centre_offsets"].encode(label_map))


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_processes_gives_the_same_batches(drawn_images, workers):
    with make(drawn_images, workers=workers) as sequence:
        for epoch in (0, 7):
            assert_same(batches_of(make(drawn_images), epoch), batches_of(sequence, epoch))


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
    assert_same(batches_of(make(in_memory), 1), batches_of(make(on_disk), 1))


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
    drawn = sequence.batches.draw_epoch(epoch)
    assert len(drawn) == 5 * len(sequence) == 80
    expected = 80 * draw_probabilities(kinds, sequence.batches.images.areas)
    assert np.abs(np.bincount(drawn, minlength=61) - expected).max() < 1


def test_draws_differ_between_epochs_and_are_shuffled(of_kinds):
    sequence = make(of_kinds(*["a"] * 40, *["b"] * 3))
    first, second = sequence.batches.draw_epoch(0), sequence.batches.draw_epoch(1)
    assert (first != second).any()
    assert (np.diff(first) < 0).any()
    np.testing.assert_array_equal(first, make(of_kinds(*["a"] * 40, *["b"] * 3)).batches.draw_epoch(0))


def test_every_image_is_drawn_in_some_epoch(of_kinds):
    # With square roots, the draws of one epoch cannot cover a kind of very many images.
    sequence = make(of_kinds(*["a"] * 100, *["b"] * 4), batch_size=1)
    seen = set()
    for epoch in range(12):
        seen |= set(sequence.batches.draw_epoch(epoch).tolist())
    assert seen == set(range(104))


def test_crops_are_cut_from_the_images_that_were_drawn(in_memory):
    images = in_memory([(np.full((2, 2, 1), 10 * i, np.uint8), np.zeros((2, 2), int), "a") for i in range(1, 21)])
    sequence = make(images, batch_size=3, augmentation=Marked())
    sequence.epoch = 5
    for index in (0, 4, len(sequence) - 1):
        x, _ = sequence[index]
        expected = 10 * (1 + sequence.batches.draw_epoch(5)[3 * index : 3 * index + 3])
        np.testing.assert_array_equal(np.rint(255 * x[:, 4, 4, 0]), expected)


@pytest.mark.parametrize(("images", "batch_size", "expected"), [(1, 8, 16), (128, 8, 16), (129, 8, 17), (200, 2, 100)])
def test_length_is_one_pass_over_the_images_or_sixteen_steps(of_kinds, images, batch_size, expected):
    assert len(make(of_kinds(*["a"] * images), batch_size=batch_size)) == expected


def test_one_single_image_trains(of_kinds):
    assert (make(of_kinds("a")).batches.draw_epoch(0) == 0).all()


def test_what_an_augmentation_raises_is_heard_of_whatever_the_backend_makes_of_it(drawn_images):
    class Broken:
        def __call__(self, pixels, label_map, rng):
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"), make(drawn_images, augmentation=Broken()) as sequence:
        try:
            sequence[0]
        except KeyError:
            raise OSError("as TensorFlow does") from None


# Crops of the centre


@pytest.fixture
def of_shapes(in_memory):
    def make(*shapes):
        rng = np.random.default_rng(1)
        return in_memory(
            [
                (rng.integers(256, size=(*shape, 1), dtype=np.uint8), rng.integers(4, size=shape), "a")
                for shape in shapes
            ]
        )

    return make


def test_centre_of_a_larger_array():
    array = np.arange(7 * 10).reshape(7, 10)
    np.testing.assert_array_equal(center_crop(array, 3, "constant"), array[2:5, 3:6])
    np.testing.assert_array_equal(center_crop(array, 7, "constant"), array[:, 1:8])


def test_smaller_arrays_are_continued_on_both_sides():
    array = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(center_crop(array, 5, "symmetric"), [[1, 1, 2, 3, 3]] * 5)
    np.testing.assert_array_equal(
        center_crop(array, 5, "constant"), [[0] * 5, [0] * 5, [0, 1, 2, 3, 0], [0] * 5, [0] * 5]
    )


def test_channels_are_left_alone():
    array = np.arange(4 * 4 * 3).reshape(4, 4, 3)
    np.testing.assert_array_equal(center_crop(array, 2, "symmetric"), array[1:3, 1:3])
    assert center_crop(array, 8, "symmetric").shape == (8, 8, 3)


@pytest.mark.parametrize("shape", [(40, 40), (57, 33), (20, 64), (9, 11), (1, 1)])
def test_image_and_label_map_stay_aligned(in_memory, shape):
    labels = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    pixels = (labels % 251).astype(np.uint8)[..., None]
    images, targets = CenterCrops(in_memory([(pixels, labels, "a")]), "centre_offsets", batch_size=1, crop_size=32)[0]
    own = center_crop(labels, 32, "constant")
    inside = own > 0
    assert inside.sum() == min(shape[0], 32) * min(shape[1], 32)
    np.testing.assert_allclose(images[0, ..., 0][inside] * 255, (own % 251)[inside], atol=1e-3)
    np.testing.assert_array_equal(targets[0], ENCODINGS["centre_offsets"].encode(own))
    np.testing.assert_array_equal(targets[0, ..., 0], inside)


def test_every_image_is_in_exactly_one_batch(of_shapes):
    images = of_shapes((40, 40), (50, 30), (20, 20), (64, 64), (33, 70))
    crops = CenterCrops(images, "centre_offsets", batch_size=2, crop_size=32)
    assert len(crops) == 3
    batches = [crops[index] for index in range(3)]
    assert [len(x) for x, _ in batches] == [len(y) for _, y in batches] == [2, 2, 1]
    seen = np.concatenate([x for x, _ in batches])
    expected = [center_crop(images.pixels(index), 32, "symmetric") for index in range(5)]
    np.testing.assert_allclose(seen * 255, expected, atol=1e-3)
    assert seen.dtype == np.float32 and 0 <= seen.min() and seen.max() <= 1


def test_crops_are_the_same_each_time(of_shapes):
    crops = CenterCrops(of_shapes((40, 40), (50, 30)), "centre_offsets", batch_size=2, crop_size=32)
    np.testing.assert_array_equal(crops[0][0], crops[0][0])


# How batches reach Keras


class Counting(keras.utils.Sequence):
    """Five pictures in batches of two; every number tells the epoch and its place."""

    def __init__(self):
        super().__init__()
        self.epoch = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        pictures = 100 * self.epoch + np.arange(5, dtype=np.float32)[2 * index : 2 * index + 2, None, None, None]
        return pictures * np.ones((4, 6, 3), np.float32), -pictures * np.ones((4, 6, 2), np.float32)


tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others take the sequence itself")


@tensorflow_only
def test_the_batches_of_each_epoch_in_their_order():
    sequence = Counting()
    fed = feed(sequence)
    for epoch in (0, 3):
        sequence.epoch = epoch
        batches = [(images.numpy(), targets.numpy()) for images, targets in fed]
        assert len(batches) == len(sequence) == int(fed.cardinality())
        for index, (images, targets) in enumerate(batches):
            expected = sequence[index]
            np.testing.assert_array_equal(images, expected[0])
            np.testing.assert_array_equal(targets, expected[1])


@tensorflow_only
def test_the_thread_that_is_waited_for_is_off():
    assert feed(Counting()).options().autotune.enabled is False


def test_another_backend_gets_the_sequence(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    sequence = Counting()
    assert feed(sequence) is sequence


# Plain arrays


def test_arrays_are_normalised_as_the_images_of_a_data_set(tmp_path, write_drawn, drawn_images):
    drawn = write_drawn(tmp_path, 8)
    images = CachedImages.from_arrays(*zip(*drawn.values(), strict=True))
    assert len(images) == 8 and images.kinds == drawn_images.kinds and images.areas == drawn_images.areas
    assert len(set(images.groups)) == 8
    for index in range(8):
        np.testing.assert_array_equal(images.pixels(index), drawn_images.pixels(index))
        np.testing.assert_array_equal(images.label_map(index), drawn_images.label_map(index))


def test_arrays_that_do_not_fit_are_refused():
    image = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="1 images and 0 label maps"):
        CachedImages.from_arrays([image], [])
    with pytest.raises(ValueError, match=r"image 0 has the shape \(4, 5, 1\), its label map \(5, 4\)"):
        CachedImages.from_arrays([image], [np.zeros((5, 4), int)])


def test_unknown_targets_and_no_images_are_refused_with_a_sentence(in_memory, drawn_images):
    for kind in (NucleiSequence, CenterCrops):
        with pytest.raises(ValueError, match="targets must be one of .*centre_offsets.*, got 'stars'"):
            kind(drawn_images, "stars")
        with pytest.raises(ValueError, match="images holds none"):
            kind(drawn_images.select({}), "centre_offsets")


def test_a_network_is_trained_in_twenty_lines():
    """The building blocks fit together as they are, from plain arrays."""
    from segmentation.network.losses import bce_dice
    from segmentation.network.metrics import DiceCoefficient
    from segmentation.network.unet import build_unet
    from segmentation.training.callbacks import EpochSetter

    rng = np.random.default_rng(0)
    label_maps = [np.zeros((64, 64), np.int32) for _ in range(4)]
    for label_map in label_maps:
        row, column = rng.integers(8, 40, 2)
        label_map[row : row + 16, column : column + 12] = 1
    images = [rng.normal(40 + 120 * (label_map > 0), 5).astype(np.uint8) for label_map in label_maps]
    cached = CachedImages.from_arrays(images, label_maps)

    model = build_unet(base_filters=4, depth=2)
    model.compile("adam", loss=bce_dice, metrics=[DiceCoefficient()], jit_compile=False)
    batches = NucleiSequence(cached, "foreground", batch_size=2, crop_size=32)
    history = model.fit(
        feed(batches),
        epochs=2,
        callbacks=[EpochSetter(batches)],
        validation_data=feed(CenterCrops(cached, "foreground", batch_size=2, crop_size=32)),
        steps_per_epoch=2,
        verbose=0,
    ).history
    assert all(np.isfinite(history[name]).all() for name in ("loss", "dice", "val_loss", "val_dice"))
