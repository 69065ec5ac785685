"""Playing episodes: one policy, many conversations at a time.

What a step does is `ChatSetting.advance`, the same function as in the environments. A conversation depends on
nothing but its task, so results do not depend on how many run at a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from empathy_gym.agents import Conversation, Reply
from empathy_gym.agents.policy import conversation_of
from empathy_gym.envs.instructions import instruction_hash
from empathy_gym.envs.setting import ChatSetting, Transition
from empathy_gym.rewards.registry import floor_of
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, Fault, derive_seed
from empathy_gym.simulators.errors import EmpathyGymError
from empathy_gym.simulators.records import EpisodeRecord, EpisodeRecorder
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import with_fault

BATCH_SIZE: Final = 64
ATTEMPTS: Final = 3
"""How often an episode is begun before a fault of the simulator stands."""


@dataclass(frozen=True, slots=True)
class Task:
    """One episode to play.

    Attributes:
        policy: The policy's spec.
        scenario: Who to talk with.
        repeat: Number of the repeat, from 0.
        run_seed: Seed of the bench run.
    """

    policy: str
    scenario: Scenario
    repeat: int
    run_seed: int

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells this episode from the others of its run."""
        return (self.policy, self.scenario.id, self.repeat)

    @property
    def seed(self) -> int:
        """Seed of the dialogue: the same for every policy, so that results are paired."""
        return derive_seed(self.run_seed, self.scenario.id, self.repeat)

    @property
    def policy_seed(self) -> int:
        """Seed that the conversation hands its policy: the same for every policy, too."""
        return derive_seed(self.run_seed, "policy", self.scenario.id, self.repeat)

    def key(self, attempt: int) -> str:
        """Return the conversation's key: unique, and silent about scenario and seed."""
        return f"{derive_seed(self.run_seed, 'key', *self.identity, attempt):016x}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An action that is not words.

    Attributes:
        number: Number of the strategy that it came to.
        intensity: Its intensity, or None.
        raw: The action as JSON.
    """

    number: int
    intensity: int | None
    raw: str


@dataclass(slots=True)
class Live:
    """An episode that is going on. `chosen` is its latest action where actions are not words."""

    task: Task
    attempt: int
    dialogue: Dialogue
    recorder: EpisodeRecorder
    usage: dict[str, int | float] = field(default_factory=dict)
    chosen: Chosen | None = None

    @property
    def key(self) -> str:
        """Key of the conversation."""
        return self.task.key(self.attempt)


class Player:
    """Plays one policy.

    Args:
        setting: The task's setting.
        env_id: Id of the environment, for the records.
        policy: The policy.
        spec: How it was named, for records and errors.
        batch_size: Conversations at a time.
        attempts: How often an episode is begun before a fault of the simulator stands.

    Attributes:
        usage: Requests and tokens of the policy so far, where its replies tell them; those of episodes that
            were begun again included.
    """

    def __init__(
        self,
        setting: ChatSetting,
        env_id: str,
        policy: Any,
        spec: str,
        *,
        batch_size: int = BATCH_SIZE,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.setting, self.env_id, self.policy, self.spec = setting, env_id, policy, spec
        self.batch_size, self.attempts = batch_size, attempts
        self.privileged = is_privileged(policy)
        self.env_kwargs: Mapping[str, Any] = setting.kwargs
        self.usage: dict[str, int] = {}

    def play(self, tasks: Sequence[Task]) -> Iterator[EpisodeRecord]:
        """Yield the record of every episode as soon as it is over.

        Raises:
            EmpathyGymError: If the policy raises, or returns anything but one reply for each conversation.
        """
        waiting = deque((task, 1) for task in tasks)
        live: list[Live] = []
        while waiting or live:
            room = min(len(waiting), self.batch_size - len(live))
            live += self._begin([waiting.popleft() for _ in range(room)])
            over = [episode for episode in self._turn(live) if episode.dialogue.ended]
            self._tell("end", over)
            live = [episode for episode in live if not episode.dialogue.ended]
            for episode in over:
                if episode.dialogue.truncated and episode.attempt < self.attempts:
                    waiting.appendleft((episode.task, episode.attempt + 1))
                else:
                    yield episode.recorder.record(episode.usage or None)

    def _begin(self, starts: Sequence[tuple[Task, int]]) -> list[Live]:
        setting = self.setting
        requests: list[BeginRequest | Dialogue] = [
            BeginRequest(
                task.scenario, task.seed, setting.difficulty, setting.max_turns, setting.initial_emotion
            )
            for task, _ in starts
        ]
        episodes = []
        for (task, attempt), dialogue in zip(starts, setting.begin(requests) if starts else (), strict=True):
            recorder = EpisodeRecorder(
                env_id=self.env_id,
                env_kwargs=self.env_kwargs,
                user=setting.user,
                reward=setting.kwargs.get("reward", "delta"),
                policy=self.spec,
                privileged=self.privileged,
            )
            recorder.begin(
                dialogue,
                instruction_hash=instruction_hash(setting.instruction(dialogue)),
                seed=task.run_seed,
                repeat=task.repeat,
                attempt=attempt,
            )
            episodes.append(Live(task, attempt, dialogue, recorder))
        self._tell("begin", episodes)
        return episodes

    def _turn(self, live: Sequence[Live]) -> Sequence[Live]:
        """Take one turn in every conversation, and return them."""
        replies = self._ask(live)
        spoken = [i for i, reply in enumerate(replies) if reply.error is None]
        answers = iter(
            self._advance([live[i] for i in spoken], [replies[i].text for i in spoken]) if spoken else ()
        )
        for episode, reply in zip(live, replies, strict=True):
            if reply.error is None:
                transition = next(answers)
            else:
                transition = policy_fault(self.setting, episode.dialogue, f"policy: {reply.error}")
            episode.dialogue = transition.dialogue
            action, strategy = self._recorded(episode, reply)
            episode.recorder.step(
                action,
                transition.dialogue,
                transition.reward,
                transition.terms,
                reply.reasoning,
                strategy,
            )
            self._note_usage(episode, reply)
        return live

    def _advance(self, live: Sequence[Live], replies: Sequence[str]) -> list[Transition]:
        """Say something in some conversations, in one call of the user."""
        return self.setting.advance([episode.dialogue for episode in live], replies)

    def _recorded(self, episode: Live, reply: Reply) -> tuple[str | None, str | None]:
        """Return the action as a record holds it, and its strategy if it is one."""
        return None if reply.error is not None else reply.text, None

    def _note_usage(self, episode: Live, reply: Reply) -> None:
        if not reply.usage:
            return
        for name, amount in reply.usage.items():
            episode.usage[name] = episode.usage.get(name, 0) + amount
        for name, amount in {**reply.usage, "requests": 1, "failures": int(reply.error is not None)}.items():
            self.usage[name] = self.usage.get(name, 0) + int(amount)

    # -- the policy --------------------------------------------------------------------------------------

    def _ask(self, live: Sequence[Live]) -> list[Reply]:
        conversations = [self._conversation(episode) for episode in live]
        if self.privileged:
            given = self._call("act", conversations, [episode.dialogue for episode in live])
        else:
            given = self._call("act", conversations)
        if isinstance(given, str | bytes) or not isinstance(given, Sequence):
            raise EmpathyGymError(
                f"The policy {self.spec!r} returned a {type(given).__name__} from act(); it must return a "
                "list with one str or Reply for each conversation."
            )
        if len(given) != len(live):
            raise EmpathyGymError(
                f"The policy {self.spec!r} got {len(live)} conversations and returned {len(given)} replies; "
                "it must return one for each, in order."
            )
        return [self._reply(reply) for reply in given]

    def _reply(self, reply: Any) -> Reply:
        if isinstance(reply, str):
            return Reply(reply)
        if isinstance(reply, Reply) and (isinstance(reply.text, str) or reply.error is not None):
            return reply
        what = f"Reply with a text of type {type(reply.text).__name__}" if isinstance(reply, Reply) else None
        raise EmpathyGymError(
            f"The policy {self.spec!r} returned a {what or type(reply).__name__}; a reply is a str or an "
            "empathy_gym.agents.Reply."
        )

    def _conversation(self, episode: Live) -> Conversation:
        """Return what the policy may see."""
        task, dialogue = episode.task, episode.dialogue
        return conversation_of(
            dialogue,
            key=episode.key,
            seed=task.policy_seed,
            instruction=self.setting.instruction(dialogue),
            think=self.setting.think,
        )

    def _tell(self, method: str, episodes: Sequence[Live]) -> None:
        if episodes and callable(getattr(self.policy, method, None)):
            self._call(method, [episode.key for episode in episodes])

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call the policy: the one boundary behind which anything may be raised."""
        try:
            return getattr(self.policy, method)(*arguments)
        except Exception as error:
            raise EmpathyGymError(
                f"The policy {self.spec!r} failed in {method}(): {type(error).__name__}: {error}"
            ) from error


def is_privileged(policy: object) -> bool:
    """Return whether a policy asks to see the dialogues."""
    return bool(getattr(policy, "privileged", False))


def policy_fault(setting: ChatSetting, before: Dialogue, cause: str) -> Transition:
    """Return the step in which the policy gave no reply: the emotion falls to 0, as for a malformed one."""
    terms = setting.zero_terms()
    terms["fault"] = floor_of(setting.reward, before)
    return Transition(with_fault(before, Fault("policy", cause)), math.fsum(terms.values()), terms)
