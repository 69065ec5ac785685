"""Two classics without understanding: a slot template, and ELIZA's fragment, feeling and question."""

from __future__ import annotations

from empathy_gym.agents.policies.blind import BlindPolicy, lines, pick, user_lines
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.listening.wording import clauses, content_words, upper_first


class TemplatePolicy(BlindPolicy):
    """One well-meant template whose nouns are refilled from the user's last line."""

    def __init__(self) -> None:
        super().__init__("template", _template)


class ElizaPolicy(BlindPolicy):
    """A fragment of the user's line with pronouns swapped, a canned feeling, a canned question."""

    def __init__(self) -> None:
        super().__init__("eliza", _eliza)


def _template(conversation: Conversation) -> str:
    nouns = [*content_words(user_lines(conversation)[-1]), "all of this", "everything"]
    return str(lines()["template"][0]).format(a=nouns[0], b=nouns[1])


def _eliza(conversation: Conversation) -> str:
    canned = lines()["eliza"]
    fragment = next(iter(clauses(user_lines(conversation)[-1])), "there is something on your mind")
    feeling = pick(conversation, canned["feelings"], "feeling")
    return f"{upper_first(fragment)}. {feeling} {pick(conversation, canned['questions'], 'question')}"
