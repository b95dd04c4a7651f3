"""What a call on a cluster makes of the results of its tasks, and what a worker says of itself, without a cluster."""

from collections import deque
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed")

from segmentation.batch import worker
from segmentation.batch.call import DONE, FAILED, Call, Outcome
from segmentation.batch.inputs import Input
from segmentation.batch.recipe import Recipe
from segmentation.batch.records import RECORDS
from segmentation.batch.tasks import FileTasks, SlideTasks


@pytest.fixture
def call(tmp_path):
    (tmp_path / "out" / RECORDS).mkdir(parents=True)
    return Call(tmp_path / "out", None, {})


def sources(folder, count):
    return [Input(f"cell{number}", folder / f"cell{number}.png") for number in range(count)]


def test_of_files_that_took_their_worker_with_them_each_is_tried_alone(call, tmp_path):
    todo = deque()
    files = FileTasks(call, sources(tmp_path, 3), todo)
    assert list(files.task(range(3)).then(RuntimeError("the workers ended"))) == []
    assert [task.arguments[0][0].name for task in todo] == ["cell0", "cell1", "cell2"]
    done = Outcome(files.sources[0], DONE, 5)
    assert list(todo.popleft().then([done])) == [(0, done)]
    ((index, failed),) = todo.popleft().then(RuntimeError("the workers ended"))
    assert (index, failed.status) == (1, FAILED) and failed.reason.endswith(
        "cell1.png failed: RuntimeError, the workers ended"
    )
    assert list(todo.popleft().then([None])) == [] and files.large == [2]


def test_blocks_begin_after_their_neighbours_and_the_image_ends_after_its_blocks(call, tmp_path):
    todo, seen, source = deque(), [], Input("slide", tmp_path / "slide.tif")
    tasks = SlideTasks(call, 7, source, todo, lambda *told: seen.append(told))
    missing = [(row, column) for row in range(3) for column in range(4) if (row, column) != (0, 0)]
    blocks = call.folder / RECORDS / "slide.blocks"
    blocks.mkdir()
    (blocks / "0-1.right.npy").touch()
    assert list(tasks.first().then(worker.Slide("digest", 3, 4, missing))) == []
    finished = {(0, 0)}
    while todo[0].function is worker.predict_block:
        task = todo.popleft()
        row, column = place = task.arguments[2]
        needed = {(row - 1, column), (row, column - 1), (row - 1, column - 1)}
        assert {one for one in needed if min(one) >= 0} <= finished and place not in finished
        finished.add(place)
        assert list(task.then(None)) == []
        assert (blocks / "0-1.right.npy").exists() == (not {(r, c) for r in (0, 1) for c in range(4)} <= finished)
    assert len(finished) == 12 and seen[-1] == ("slide", 12, 12) and len(todo) == 1
    done = Outcome(source, DONE, 9)
    assert list(todo.popleft().then(done)) == [(7, done)] and not blocks.exists()


def test_an_image_fails_once_however_many_blocks_do_and_no_more_begin(call, tmp_path):
    todo, source = deque(), Input("slide", tmp_path / "slide.tif")
    tasks = SlideTasks(call, 0, source, todo, lambda *told: None)
    list(tasks.first().then(worker.Slide("digest", 2, 2, [(0, 1), (1, 0), (1, 1)])))
    right, below = todo
    todo.clear()
    broken = Outcome(source, FAILED, reason="broken")
    assert list(right.then(broken)) == [(0, broken)]
    assert list(right.then(broken)) == [] and list(right.then(ValueError("broken"))) == []
    assert list(below.then(None)) == [] and not todo


def test_a_step_that_took_its_workers_with_it_is_tried_once_more(call, tmp_path):
    todo, ended = deque(), RuntimeError("the workers ended")
    tasks = SlideTasks(call, 3, Input("slide", tmp_path / "slide.tif"), todo, lambda *told: None)
    assert list(tasks.first().then(ended)) == []
    list(todo.popleft().then(worker.Slide("digest", 1, 2, [(0, 0), (0, 1)])))
    first = todo.popleft()
    assert list(first.then(ended)) == []
    (again,) = todo
    assert (again.function, again.arguments) == (first.function, first.arguments)
    ((index, failed),) = again.then(ended)
    assert (index, failed.status) == (3, FAILED) and "the workers ended" in failed.reason


def test_a_worker_says_what_it_cannot_do(tmp_path):
    plugin = worker.CallPlugin(
        "call", Recipe(tmp_path / "none", "auto", None, {}, (), dict), {}, None, {}, worker.code_digest()
    )
    me = SimpleNamespace(address="tcp://here:1", plugins={}, state=SimpleNamespace(nthreads=1))
    look = lambda *files: worker.check("call", str(tmp_path / "probe"), "token", files, dask_worker=me)  # noqa: E731
    assert look() == "The worker tcp://here:1 was not prepared"
    plugin.setup(me)
    me.plugins["call"] = plugin
    assert look().startswith("The worker tcp://here:1 cannot be used: ") and str(tmp_path / "none") in look()
    plugin.problem = ""
    assert "cannot read and write" in look()
    (tmp_path / "probe").write_text("of another folder")
    assert "cannot read and write" in look()
    (tmp_path / "probe").write_text("token")
    assert look() == ""
    assert look(str(tmp_path / "no.png")).startswith(f"The worker tcp://here:1 does not see {tmp_path / 'no.png'}; ")
    other = worker.CallPlugin("other", plugin.recipe, {}, None, {}, "another digest")
    other.setup(me)
    assert "runs another version of this code" in other.problem
