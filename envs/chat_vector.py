"""The vector environment of EmpathyChat-v0: many conversations, one batched call of the user a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Unpack

from gymnasium.vector import AutoresetMode

from empathy_gym.envs.conversation_vector import ConversationVectorEnv
from empathy_gym.envs.setting import ChatKwargs, Transition
from empathy_gym.envs.spaces import UnicodeText

Observations = tuple[str, ...]


class EmpathyChatVectorEnv(ConversationVectorEnv[Observations, Iterable[str | None]]):
    """Many conversations at once: `EmpathyChatEnv` batched, sub-environment for sub-environment the same.

    ## Description
    Made by `gym.make_vec("EmpathyChat-v0", num_envs=n)`. Sub-environment i, seeded with s + i, equals a
    single environment seeded with s + i through any number of episodes. A step asks the user once for all
    conversations.

    ## Action Space
    A tuple (or list, or array) of `num_envs` strings.

    ## Observation Space
    A tuple of `num_envs` strings.

    ## Rewards
    Shape `(num_envs,)`, float64; flags are bool arrays of that shape.

    ## Starting State
    `reset(seed=s)` seeds sub-environment i with s + i; a list seeds each. Options: `"scenario"` and
    `"dialogue"`, one for all or a list with one (or None) for each; `"reset_mask"`, a bool array of the
    sub-environments to reset, the rest going on; `"group_size"`, for policies compared within a group (GRPO):
    the siblings of a group share scenario and dialogue seed, drawn from the stream of the group's first.
    Every reset draws the same two numbers from every stream it resets, whatever the options.

    ## Episode End
    With `autoreset_mode="SameStep"` (the default) an episode that ends is followed by the next one in the
    same step: the observation is the next opening, and `infos["final_obs"]` and `infos["final_info"]` have
    the end. With `"Disabled"` nothing is reset unasked: the action of a sub-environment whose episode has
    ended must be None (it waits, with reward 0.0, flags False and no info) until a `reset_mask` covers it; a
    string there raises `ResetNeeded`. `"NextStep"` is not supported: it would feed an ignored action to a new
    conversation.

    ## Infos
    As `VectorEnv._add_info` makes them; `empathy_gym.envs.unbatch_info(infos, i)` gives the info of one
    sub-environment back, also from `infos["final_info"]`.

    ## Arguments
    `num_envs=1`, `autoreset_mode="SameStep"`, and those of `EmpathyChatEnv`. `max_episode_steps` is refused:
    the cap is `max_turns`, which the task knows about.

    ## Version History
    * v0: first version; its dynamics may change until 0.1.0 is released.

    Raises:
        ConfigError: If an argument is unknown or has a wrong value.
        ScenarioError: If a scenario file cannot be used.
    """

    action_name: ClassVar[str] = "strings"

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **kwargs: Unpack[ChatKwargs],
    ) -> None:
        super().__init__(
            kwargs,
            (),
            num_envs,
            (UnicodeText(), UnicodeText()),
            autoreset_mode=autoreset_mode,
            render_mode=render_mode,
            max_episode_steps=max_episode_steps,
        )

    def _begun(self, which: Sequence[int]) -> None:
        """A line of text is all there is to see."""

    def _taken(self, live: Sequence[int], actions: Sequence[Any]) -> list[Transition]:
        return self.setting.advance([self._dialogues[i] for i in live], actions)

    def _observation(self, index: int) -> str:
        return self._dialogues[index].last_line

    def _batched(self, observations: Sequence[str]) -> Observations:
        return tuple(observations)
