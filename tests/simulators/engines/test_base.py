"""An engine of one's own needs one method and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from empathy_gym.agents.policies.models import EnginePolicy
from empathy_gym.benchmarks.rescore import rescore_variance, transcripts
from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.dialogue import BeginRequest
from empathy_gym.simulators.engines import ChatEngine, ChatReply, ChatRequest, Tape
from empathy_gym.simulators.engines.base import close, model_of, revision_of
from empathy_gym.simulators.engines.scripted import scripted
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.compose import composed
from empathy_gym.simulators.llm.scripts import agreeable, register_scripts

register_scripts()


class Mine:
    """As little as the protocol asks for."""

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        answers = [agreeable(request) for request in requests]
        return [one if isinstance(one, ChatReply) else ChatReply(one) for one in answers]


def test_one_method_makes_an_engine() -> None:
    mine = Mine()
    assert isinstance(mine, ChatEngine) and not isinstance(object(), ChatEngine)
    assert (model_of(mine), revision_of(mine)) == ("Mine", "")
    close(mine)
    known = scripted("agreeable")
    assert (model_of(known), revision_of(known)) == (known.model, known.revision)


def test_it_can_be_put_on_a_tape(tmp_path) -> None:
    request = ChatRequest(({"role": "system", "content": "Talk."}, {"role": "user", "content": "Hello."}))
    with contextlib.closing(Tape(Mine(), tmp_path / "t.sqlite", mode="record")) as tape:
        said = tape.complete([request])[0].text
    with contextlib.closing(Tape(None, tmp_path / "t.sqlite", mode="replay")) as tape:
        assert tape.complete([request])[0].text == said
        assert tape.model == "Mine"


@pytest.mark.parametrize("perceiver", ["rubric", "embedded", "direct"])
def test_it_can_be_the_user(perceiver: str) -> None:
    user = composed(SimulatorConfig(engine="scripted:agreeable", perceiver=perceiver), Mine())
    dialogue = user.begin([BeginRequest(load_scenarios("test")[0])])[0]
    after = user.respond([dialogue], ["That sounds rough. What happened then?"])[0]
    assert after.turn == 1 and not after.faults and "Mine" in user.fingerprint


def test_it_can_be_a_policy_and_be_measured() -> None:
    policy = EnginePolicy(Mine())
    assert "Mine" in policy.fingerprint
    policy.close()
    items = transcripts(load_scenarios("test")[:1], turns=1)
    assert rescore_variance(items, [Mine()], methods=["direct"])[0].model == "Mine"
