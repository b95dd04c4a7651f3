import os

import pytest

from segmentation.prediction import cores
from segmentation.prediction.cores import available_cores, streams_for


def test_a_caller_for_each_core_but_not_more_than_images_or_memory(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    assert [streams_for(images) for images in (0, 1, 2, 1000)] == [1, 1, 2, 2]
    monkeypatch.setattr(cores, "available_cores", lambda: 64)
    assert streams_for(1000) == cores.MOST_STREAMS


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_threads_keep_to_the_affinity_of_the_process():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= available_cores() <= len(before)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, [1.5]),
        ({"cpu.max": "max 100000\n"}, []),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, [4]),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ({}, []),
    ],
)
def test_quotas_of_containers(tmp_path, files, expected):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores._container_quotas(tmp_path) == expected
