"""The aggregator's table of work: what is on it survives, and each thing is there once."""

from aggregator.jobs import Checkpoint, Jobs


def table(tmp_path):
    return Jobs(tmp_path / "jobs.sqlite")


def test_an_order_stands_on_the_table_once(tmp_path):
    table(tmp_path).add("one", b"first", 1.0)
    table(tmp_path).end("one", "done", {"model": "m"})
    table(tmp_path).add("one", b"second", 2.0)
    job = table(tmp_path).find("one")
    assert (job.wire, job.status, job.result) == (b"first", "done", {"model": "m"})
    assert table(tmp_path).next() is None


def test_an_interrupted_job_comes_before_those_that_wait(tmp_path):
    for name, created in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        table(tmp_path).add(name, b"", created)
    assert table(tmp_path).next().id == "early"
    table(tmp_path).start("late")
    assert table(tmp_path).next().id == "late"
    table(tmp_path).end("late", "abandoned", {})
    assert table(tmp_path).next().id == "early"


def test_one_that_is_asked_about_again_and_again_keeps_no_other_from_its_turn(tmp_path):
    table(tmp_path).add("waits", b"", 1.0)
    table(tmp_path).wait("waits", 10.0)
    table(tmp_path).add("new", b"", 8.0)
    assert table(tmp_path).next(9.0).id == "new"
    assert table(tmp_path).next(11.0).id == "new"  # which came before the other's time did
    table(tmp_path).add("newer", b"", 12.0)
    table(tmp_path).end("new", "done", {})
    assert table(tmp_path).next(13.0).id == "waits"
    table(tmp_path).wait("waits", 15.0)
    assert table(tmp_path).next(16.0).id == "newer"


def test_a_job_is_found_by_its_first_digits(tmp_path):
    table(tmp_path).add("4711abcdef", b"", 1.0)
    assert table(tmp_path).find("4711").id == "4711abcdef"
    assert table(tmp_path).find("4712") is None


def test_notes_are_read_from_where_one_stopped(tmp_path):
    table(tmp_path).add("one", b"", 1.0)
    for number in range(3):
        table(tmp_path).note("one", stage="round", round=number)
    notes = table(tmp_path).notes("one")
    assert [note["round"] for _, note in notes] == [0, 1, 2]
    assert table(tmp_path).notes("one", notes[0][0]) == notes[1:]
    assert table(tmp_path).notes("other") == []


def test_the_newest_round_is_what_counts(tmp_path):
    table(tmp_path).add("one", b"", 1.0)
    assert table(tmp_path).last_round("one") is None
    for number in (0, 1, 10, 2):
        table(tmp_path).commit_round("one", Checkpoint(number, b"w", b"v", ("a", "b")))
    assert table(tmp_path).last_round("one") == Checkpoint(10, b"w", b"v", ("a", "b"))


def test_an_answer_is_noted_once_and_only_where_one_is_sealed(tmp_path):
    jobs = table(tmp_path)
    for name, result in (
        ("sealed", {"answer": None, "sealed": True, "parties": ["cn"]}),
        ("model", {"model": "m"}),
        ("repeated", {"answer": {"rows": [1]}, "reused": {}}),
    ):
        jobs.add(name, b"", 1.0)
        jobs.end(name, "done", result)
        jobs.keep_answer(name, {"rows": ["first"]})
        jobs.keep_answer(name, {"rows": ["second"]})
    jobs.add("open", b"", 1.0)
    jobs.keep_answer("open", {"rows": []})
    first = {"answer": {"rows": ["first"]}, "sealed": True, "parties": ["cn"]}
    assert jobs.find("sealed").result == first
    assert jobs.find("model").result == {"model": "m"}
    assert jobs.find("repeated").result == {"answer": {"rows": [1]}, "reused": {}}
    assert jobs.find("open").result is None
