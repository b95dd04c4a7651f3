import random
import threading
import time
import weakref

import numpy as np
import pytest

from segmentation.batch import pipeline
from segmentation.batch.pipeline import ReadImage, run_pipeline

pytestmark = pytest.mark.slow

SMALL = 256 * 256


def prepared(index, shape=(256, 256)):
    return ReadImage(shape, shape[0] * shape[1], index)


def run(
    count,
    read=prepared,
    predict=lambda contents: contents,
    finish=lambda content, output: output * 10,
    threads=2,
    streams=1,
    batch_pixels=8 * SMALL,
):
    return list(run_pipeline(count, read, predict, finish, threads, streams, batch_pixels))


def test_every_image_goes_through_the_three_stages():
    assert sorted(run(100)) == [(index, index * 10) for index in range(100)]
    assert run(0) == []


@pytest.mark.parametrize(("streams", "most"), [(1, 8), (2, 8), (2, 1)])
def test_batches_are_of_one_shape_and_follow_from_the_order_alone(streams, most):
    rng = random.Random(1)
    shapes = [rng.choice([(256, 256), (512, 512), (2048, 2048)]) for _ in range(60)]

    def batches(seed):
        rng = random.Random(seed)
        seen = []

        def read(index):
            time.sleep(rng.random() / 500)
            return prepared(index, shapes[index])

        def predict(contents):
            seen.append(contents)
            time.sleep(rng.random() / 500)
            return contents

        assert len(run(60, read, predict, streams=streams, batch_pixels=most * SMALL)) == 60
        return sorted(seen)

    first = batches(1)
    assert first == batches(2)
    assert all(len({shapes[index] for index in batch}) == 1 for batch in first)
    assert max(len(batch) for batch in first if shapes[batch[0]] == (256, 256)) == most
    assert max(len(batch) for batch in first if shapes[batch[0]] == (512, 512)) == max(most // 4, 1)


def test_callers_predict_at_once():
    both = threading.Barrier(2, timeout=10)

    def predict(contents):
        both.wait()  # passes only when another thread predicts, too
        return contents

    assert len(run(16, predict=predict, streams=2)) == 16


def test_what_needs_no_prediction_passes_by():
    results = run(10, lambda index: "skipped" if index % 2 else prepared(index))
    assert dict(results) == {index: "skipped" if index % 2 else index * 10 for index in range(10)}


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("stage", ["read", "predict", "finish"])
def test_an_image_that_fails_does_not_stop_the_others(stage, streams):
    def fails(name, index):
        if name == stage and index in (3, 17, 18):
            raise ValueError(f"{index} is bad")

    def read(index):
        fails("read", index)
        return prepared(index)

    def predict(contents):
        for index in contents:
            fails("predict", index)
        return contents

    def finish(content, output):
        fails("finish", content)
        return output * 10

    results = dict(run(30, read, predict, finish, streams=streams))
    assert len(results) == 30
    for index, result in results.items():
        if index in (3, 17, 18):
            assert str(result) == f"{index} is bad"
        else:
            assert result == index * 10


def test_stages_overlap():
    def slow(seconds, result):
        time.sleep(seconds)
        return result

    started = time.perf_counter()
    run(
        40,
        lambda index: slow(0.01, prepared(index, (1024, 1024))),
        lambda contents: slow(0.02, contents),
        lambda content, output: slow(0.01, output * 10),
    )
    assert time.perf_counter() - started < 0.9 * 40 * 0.04


@pytest.mark.parametrize("slow_stage", ["predict", "finish"])
@pytest.mark.parametrize("side", [256, 1024, 4096])
@pytest.mark.parametrize("streams", [1, 2])
def test_what_waits_is_bounded(slow_stage, side, streams):
    alive = weakref.WeakSet()
    numbers = []
    lock = threading.Lock()

    class Content:
        """What memory is for: an image, or what was predicted of it."""

        def __init__(self):
            with lock:
                alive.add(self)
                numbers.append(len(alive))

    def read(index):
        return ReadImage((side, side), side**2, Content())

    def predict(contents):
        time.sleep(0.005 if slow_stage == "predict" else 0)
        return contents

    def finish(content, output):
        time.sleep(0.005 if slow_stage == "finish" else 0)

    run(600 if side == 256 else 150, read, predict, finish, streams=streams)
    budget = pipeline.READ_AHEAD + pipeline.WAITING_FOR_SHAPE + pipeline.PREDICTING + pipeline.FINISHING
    # However large: two threads read one more each, one is predicted, the next waits for that, one is finished.
    assert max(numbers) <= budget / side**2 + 5


def test_stopping_in_the_middle_finishes_what_was_begun_and_drops_the_rest():
    finished = []

    def finish(content, output):
        time.sleep(0.002)
        finished.append(content)
        return output

    results = run_pipeline(1000, prepared, lambda contents: contents, finish, 2, 1, 8 * SMALL)
    next(results)
    results.close()
    done = len(finished)
    assert 1 <= done < 200
    time.sleep(0.02)
    assert len(finished) == done, "threads went on"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "predict", "finish"))]


def test_an_interrupt_cancels_what_is_predicted():
    stopped = threading.Event()
    both = threading.Barrier(3, timeout=10)
    begun = []

    def read(index):
        return "skipped" if index == 2 else prepared(index, (1024, 1024))

    def predict(contents):
        begun.append(contents)
        both.wait()
        assert stopped.wait(10), "was not cancelled"
        return contents

    results = run_pipeline(40, read, predict, lambda content, output: output, 2, 2, 8 * SMALL, stopped.set)
    assert next(results) == (2, "skipped")
    both.wait()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    assert len(begun) == 2, "others were begun afterwards"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "predict", "finish"))]


def test_what_is_done_is_told_while_the_next_is_read():
    told = threading.Event()

    def read(index):
        # The third is read once the caller has heard of the first.
        assert index < 2 or told.wait(10), "the first is held back"
        return prepared(index, (1024, 1024))

    for _ in run_pipeline(3, read, lambda contents: contents, lambda c, o: o, 1, 1, 8 * SMALL):
        told.set()


def test_outputs_go_to_their_own_images():
    arrays = [np.full(3, index) for index in range(20)]
    read = lambda index: ReadImage("shape", SMALL, arrays[index])  # noqa: E731
    results = run_pipeline(
        20, read, lambda contents: [2 * content for content in contents], lambda c, o: (c, o), 3, 1, 8 * SMALL
    )
    for index, (content, output) in results:
        assert content[0] == index
        assert output[0] == 2 * index
