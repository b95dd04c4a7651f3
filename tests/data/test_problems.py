from pathlib import Path

from segmentation.data.problems import Problem, describe_problems


def test_fatal_problems_come_first_and_the_many_before_the_few():
    found = [Problem("/d/a", "a", "odd", False), *[Problem("/d/b", "b", "many", False)] * 2]
    found += [Problem("/d/c", "c", "bad", True, "3 pixels")]
    text = describe_problems(found, Path("/d"))
    assert text.split("\n") == [
        *("", "FATAL: bad (1)", "  c: 3 pixels"),
        *("", "warning: many (2)", "  b", "  b"),
        *("", "warning: odd (1)", "  a"),
        *("", "1 fatal problems, 3 warnings"),
    ]
    assert describe_problems([], Path("/d")) == "\nno problems"
