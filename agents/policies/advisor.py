"""A policy that means well and answers everything with a suggestion."""

from __future__ import annotations

from empathy_gym.agents.policies.blind import BlindPolicy, lines, user_lines
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.listening.wording import content_words, names


class AdvisorPolicy(BlindPolicy):
    """Suggests something about what the user mentioned, from the first reply on."""

    def __init__(self) -> None:
        super().__init__("advisor", _advice)


def _advice(conversation: Conversation) -> str:
    said = user_lines(conversation)
    nouns = [w for w in content_words(said[-1]) if w.islower()] + ["it", "the rest"]
    people = [*names(" ".join(said)), "them"]
    suggestion: str = lines()["advisor"][conversation.turn % len(lines()["advisor"])]
    return suggestion.format(person=people[0], a=f"the {nouns[0]}", b=f"the {nouns[1]}")
