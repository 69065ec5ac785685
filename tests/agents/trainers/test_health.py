"""Health of a run: what replies look like, and when somebody is told."""

from __future__ import annotations

import pytest

from empathy_gym.agents.trainers.health import HealthMonitor, signatures
from empathy_gym.agents.trainers.recipe import HealthRecipe
from empathy_gym.simulators.appraisal import Appraisal


def read(guard=None, **levels):
    return Appraisal(**levels).levels(), guard


def test_signatures_count_what_they_say() -> None:
    replies = [
        "You are so right about that, always.",
        "You are so right about this.",
        "What did she say?",
        "Hm.",
    ]
    readings = [read(affirmation=-1), read(stance=-1), read(stance=-2, repetition=1), read("copy", form=0)]
    found = signatures(replies, readings)
    assert found["template"] == 0.5 and found["flattery"] == 0.5 and found["agreement"] == 0.25
    assert found["repetition"] == found["copy"] == found["guards"] == 0.25
    assert found["reply_words"] == pytest.approx((7 + 6 + 4 + 1) / 4)


def test_a_phrase_said_twice_in_one_reply_counts_once() -> None:
    reply = "I hear what you say. I hear what you say."
    assert signatures([reply, "No."], [read(), read()])["template"] == 0.5


def test_nothing_read_is_nothing_said() -> None:
    assert signatures([], []) == {}


def test_the_first_evaluation_is_the_measure_of_later_ones() -> None:
    monitor = HealthMonitor(HealthRecipe(growth=1.3))
    assert monitor.check_evaluation({"emotion": 40.0, "template": 0.2, "reply_words": 20.0}) == []
    assert monitor.check_evaluation({"template": 0.25, "reply_words": 25.0}) == []
    (line,) = monitor.check_evaluation({"template": 0.27, "reply_words": 25.0})
    assert line == "template has grown from 0.200 to 0.270"


def test_what_is_rare_is_not_warned_of() -> None:
    monitor = HealthMonitor(HealthRecipe())
    monitor.check_evaluation({"flattery": 0.0})
    assert monitor.check_evaluation({"flattery": 0.05}) == []
    assert monitor.check_evaluation({"flattery": 0.06}) != []


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"fault_rate": 0.1}, "10.0% of the groups faulted"),
        ({"gap": 0.5}, "sampler and trainer differ by 0.500"),
        ({"entropy": 0.01}, "the entropy has fallen to 0.010"),
    ],
)
def test_a_step_that_goes_wrong_is_told(metrics, said) -> None:
    (line,) = HealthMonitor(HealthRecipe()).check_step(metrics)
    assert said in line


def test_three_warnings_in_a_row_stop_a_run_that_says_so() -> None:
    for stop in (True, False):
        monitor = HealthMonitor(HealthRecipe(stop=stop))
        for metrics in ({"gap": 1.0}, {"gap": 1.0}, {"gap": 0.0}, {"gap": 1.0}, {"gap": 1.0}):
            monitor.check_step(metrics)
            assert monitor.stop is None
        monitor.check_step({"gap": 1.0})
        assert (monitor.stop is not None) is stop
        again = HealthMonitor(HealthRecipe(stop=stop))
        again.load_state(monitor.state())
        assert again.stop == monitor.stop
