"""The vector environment of EmpathyStrategy-v0: many conversations led by strategies, one call of the user a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from empathy_gym.envs.conversation_vector import ConversationVectorEnv
from empathy_gym.envs.setting import Transition
from empathy_gym.envs.strategies import CLOSE, STRATEGIES
from empathy_gym.envs.strategy import (
    OWN_KWARGS,
    StrategyKwargs,
    action_space,
    choice,
    chosen_reply,
    masks,
    speech_seed,
    split_kwargs,
    view,
)
from empathy_gym.envs.strategy_observation import Observation, observation_space, recognise


class EmpathyStrategyVectorEnv(ConversationVectorEnv[Observation, Any]):
    """Many conversations led by strategies: `EmpathyStrategyEnv` batched, sub-environment for sub-environment the same.

    ## Description
    Made by `gym.make_vec("EmpathyStrategy-v0", num_envs=n)`; the contract is that of `EmpathyChatVectorEnv`: seeds,
    options, autoreset and infos are the same.

    ## Action Space
    `MultiDiscrete([11] * n)`, or with `intensity=True` an array of shape (n, 2). Under `"Disabled"` the action of a
    sub-environment that waits may be anything, and None.

    ## Observation Space
    A `Dict` of arrays of shape (n, size) for the boxes and (n,) for the numbers, as Gymnasium batches a `Dict`.
    `infos["final_obs"]` has the last observations of ended episodes, each a dict as of the single environment.

    ## Arguments
    `num_envs=1`, `autoreset_mode="SameStep"`, and those of `EmpathyStrategyEnv`.

    ## Version History
    * v0: first version; its dynamics may change until 0.1.0 is released.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
        ScenarioError: If a scenario file cannot be used.
    """

    action_name: ClassVar[str] = "strategies"

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **kwargs: Unpack[StrategyKwargs],
    ) -> None:
        chat, self.intensity, self.privileged = split_kwargs(kwargs)
        super().__init__(
            chat,
            OWN_KWARGS,
            num_envs,
            (observation_space(self.privileged), action_space(self.intensity)),
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            max_episode_steps=max_episode_steps,
        )
        self._strategies: list[tuple[str, ...]] = [()] * self.num_envs

    def _given(self, actions: Any) -> list[Any]:
        """Return the actions; any integer stands for None where an episode has ended, since an array holds no None."""
        given = super()._given(actions)
        return [
            None if dialogue.ended and isinstance(actions, np.ndarray) else action
            for dialogue, action in zip(self._dialogues, given, strict=True)
        ]

    def _begun(self, which: Sequence[int]) -> None:
        for i in which:
            dialogue = self._dialogues[i]
            self._strategies[i] = recognise(dialogue.messages, speech_seed(dialogue))

    def _taken(self, live: Sequence[int], actions: Sequence[Any]) -> list[Transition]:
        before = [self._dialogues[i] for i in live]
        chosen = [choice(action, self.intensity, d.turn) for action, d in zip(actions, before, strict=True)]
        replies = [chosen_reply(dialogue, one) for dialogue, one in zip(before, chosen, strict=True)]
        taken = self.setting.converse(before, replies, [number == CLOSE for number, _ in chosen])
        for i, (number, _) in zip(live, chosen, strict=True):
            self._strategies[i] = (*self._strategies[i], STRATEGIES[number])
        return taken

    def _observation(self, index: int) -> Observation:
        return view(self._dialogues[index], self._strategies[index], self.privileged)

    def _batched(self, observations: Sequence[Observation]) -> Observation:
        return {name: np.array([one[name] for one in observations]) for name in observations[0]}

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions may be taken now.

        Returns:
            Shape (num_envs, 11), or (num_envs, 14) with `intensity`: the strategies, then the intensities.
        """
        return np.stack([masks(dialogue, self.intensity) for dialogue in self.dialogues])

    @property
    def strategies(self) -> tuple[tuple[str, ...], ...]:
        """The strategies taken in every episode, as they acted."""
        return tuple(self._strategies)
