"""Playing an attacker against the users, many conversations at a time, without records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from empathy_gym.agents.policy import Conversation, conversation_of
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, derive_seed
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User

Answers = Callable[[Sequence[Dialogue]], Sequence[str]]
BATCH = 256


def starts(
    scenarios: Sequence[Scenario], difficulty: str, max_turns: int = 8, seed: int = 0
) -> list[BeginRequest]:
    """Return one conversation to begin with each scenario, seeds derived."""
    return [BeginRequest(s, derive_seed(seed, s.id, 0), difficulty, max_turns) for s in scenarios]


def conversation(dialogue: Dialogue) -> Conversation:
    """Return what a policy sees of a dialogue."""
    return conversation_of(
        dialogue, key=f"{derive_seed(dialogue.seed, 'key'):016x}", seed=derive_seed(dialogue.seed, "policy")
    )


def play(user: User, requests: Sequence[BeginRequest], answers: Answers) -> list[Dialogue]:
    """Play conversations to their end.

    Args:
        user: Who answers.
        requests: Conversations to begin.
        answers: Given the dialogues that go on, one reply for each. It is called with batches whose make-up is not
            to be relied on.

    Returns:
        The dialogues at their end, in the order of the requests.
    """
    done: list[Dialogue] = []
    for first in range(0, len(requests), BATCH):
        dialogues = user.begin(requests[first : first + BATCH])
        live = list(range(len(dialogues)))
        while live:
            going = [dialogues[i] for i in live]
            for i, after in zip(live, user.respond(going, answers(going)), strict=True):
                dialogues[i] = after
            live = [i for i in live if not dialogues[i].ended]
        done += dialogues
    return done
