import keras
import numpy as np
import pytest

from segmentation.training.feeding import feed


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
