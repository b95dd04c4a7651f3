import threading
import time

import numpy as np
import pytest

from segmentation.data import decoding as loading
from segmentation.data import problems
from segmentation.data.decoding import AHEAD, load_samples
from segmentation.data.layouts import find_samples


@pytest.fixture
def samples(tmp_path, write_bowl, nuclei):
    return find_samples(write_bowl(tmp_path, {f"{number:02d}": nuclei for number in range(20)}))


def test_order_and_content_do_not_depend_on_the_threads(samples):
    for threads in (1, 4):
        loaded = list(load_samples(samples, threads))
        assert [item.sample for item in loaded] == samples
        for item in loaded:
            np.testing.assert_array_equal(item.image.pixels, item.sample.read_image().pixels)
            np.testing.assert_array_equal(item.labels, item.sample.read_labels(item.labels.shape))
            assert item.is_usable and not item.problems and item.fingerprint.shape == item.labels.shape


def test_damaged_samples_are_yielded_with_all_their_problems(samples):
    samples[3].image.write_bytes(samples[3].image.read_bytes()[:100])
    samples[3].masks.files[0].write_bytes(b"")
    samples[5].masks.files[1].write_bytes(b"")
    loaded = list(load_samples(samples, 2))
    assert len(loaded) == 20
    assert [problem.what for problem in loaded[3].problems] == [problems.UNREADABLE_IMAGE, problems.UNREADABLE_MASK]
    assert loaded[3].image is None and loaded[3].labels is None and loaded[3].fingerprint is None
    assert [problem.what for problem in loaded[5].problems] == [problems.UNREADABLE_MASK]
    # The file is named once.
    assert str(loaded[3].problems[0]).count(str(samples[3].image)) == 1
    assert [item.is_usable for item in loaded] == [number not in (3, 5) for number in range(20)]


def test_the_window_is_bounded_and_an_early_end_stops_decoding(samples, monkeypatch):
    started, lock = [], threading.Lock()
    decode = loading.load_sample

    def counting(sample):
        with lock:
            started.append(sample.id)
        return decode(sample)

    monkeypatch.setattr(loading, "load_sample", counting)
    iterator = load_samples(samples, threads=2)
    next(iterator)
    time.sleep(0.2)
    assert len(started) <= 2 * AHEAD + 1
    iterator.close()
    assert len(started) <= 2 * AHEAD + 1
