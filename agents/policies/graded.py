"""Policies of graded skill: better ones diluted with weaker ones, a draw at every turn.

They fill the range between the references, so that a difficulty, or a reward, can be measured all along it. Which
reply is whose follows from the conversation's seed and turn: the same seed gives the same policy on every
difficulty, and another seed another sample of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Final

from empathy_gym.agents.policies.blind import BlindPolicy, lines, pick
from empathy_gym.agents.policies.listener import ListenerPolicy
from empathy_gym.agents.policies.oracle import OraclePolicy
from empathy_gym.agents.policy import Conversation
from empathy_gym.simulators.dialogue import Dialogue, derive_seed


def drawn(conversation: Conversation, percent: int, what: str) -> bool:
    """Whether a draw with this probability falls at this turn: more percent adds turns and takes none away."""
    return derive_seed(conversation.seed, conversation.turn, what) % 100 < percent


class GradedPolicy:
    """Speaks as the oracle in some of its replies, and as the listener in the rest. Privileged, as the oracle is.

    The oracle in it does not look ahead: it costs a third of the whole one.

    Args:
        percent: Share of the oracle's replies.
    """

    privileged = True

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self.fingerprint = f"scripted:graded-{percent}"
        self.oracle, self.listener = OraclePolicy(candidates=24, ahead=0), ListenerPolicy()

    def act(self, conversations: Sequence[Conversation], dialogues: Sequence[Dialogue]) -> list[str]:
        """Answer each conversation by itself."""
        return [
            self.oracle.act([conversation], [dialogue])[0]
            if drawn(conversation, self.percent, "graded")
            else self.listener.act([conversation])[0]
            for conversation, dialogue in zip(conversations, dialogues, strict=True)
        ]


class SlippingPolicy(BlindPolicy):
    """The listener, but for some replies in which attention slips: a commonplace, a closed question, hurried advice.

    Args:
        percent: Share of the slips.
    """

    def __init__(self, percent: int) -> None:
        super().__init__(f"slipping-{percent}", self._reply)
        self.percent, self.listener = percent, ListenerPolicy()

    def _reply(self, conversation: Conversation) -> str:
        if drawn(conversation, self.percent, "slip"):
            return pick(conversation, lines()["slips"], "slips")
        return self.listener.act([conversation])[0]


GRADED: Final = (10, 20, 35, 50, 75)
"""Percent of the oracle's replies."""
SLIPPING: Final = (15, 25, 40, 50)
"""Percent of slips."""
POLICIES: Final[dict[str, Callable[[], GradedPolicy | SlippingPolicy]]] = {
    **{f"graded-{percent}": functools.partial(GradedPolicy, percent) for percent in GRADED},
    **{f"slipping-{percent}": functools.partial(SlippingPolicy, percent) for percent in SLIPPING},
}
"""Every graded policy by name."""
