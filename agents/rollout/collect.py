"""Many conversations at once, between a sampler and the simulated user, in groups that share a start.

Conversations are known by their key, never by their place: one that ends leaves at once and the next one takes its
slot (RLVER's released code counts by position, and after an early ending gives emotions to the wrong user). The
user answers whoever is done while the sampler works on the others.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from empathy_gym.agents.rollout.sampler import Sample, Sampler, SampleRequest
from empathy_gym.agents.rollout.tokens import ChatFormat, Segment, Track
from empathy_gym.envs.setting import ChatSetting, Transition
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, derive_seed
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.scenario import Scenario

USER_TOKENS: Final = 96
"""Tokens that a user's line and the marks around it are reckoned with before a run; lines are one to three
sentences."""


@dataclass(frozen=True, slots=True)
class Start:
    """An episode to play.

    Attributes:
        key: Unique, and silent about scenario and seed.
        scenario: Who to talk with.
        seed: Of the dialogue; the siblings of a group share it and the scenario.
        draws: Seed of what the policy draws; its own.
        group: Number of the group.
        temperature: 1 in training; 0 is greedy.
    """

    key: str
    scenario: Scenario
    seed: int
    draws: int
    group: int = 0
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply of an episode.

    Attributes:
        segment: Number of the segment it stands in.
        start: Its first token in that segment.
        end: Behind its last token.
        reward: What it was worth.
        text: What was said, thoughts included.
    """

    segment: int
    start: int
    end: int
    reward: float
    text: str


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An episode that was played.

    Attributes:
        start: What it started from.
        segments: Its token sequences: one, or one for each turn where histories are rendered afresh.
        turns: Its replies.
        dialogue: How it ended; for statistics, never for the policy.
    """

    start: Start
    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...]
    dialogue: Dialogue

    @property
    def total(self) -> float:
        """The return: the sum of the rewards."""
        return sum(turn.reward for turn in self.turns)

    @property
    def sampled(self) -> int:
        """Number of tokens that the policy sampled."""
        return sum(turn.end - turn.start for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Rollout:
    """What was collected.

    Attributes:
        groups: Trajectories by group, in the order of the starts; every group is whole.
        dropped: Groups left out because an episode of theirs faulted, by cause.
        tokens: Tokens sampled, those of dropped groups included.
        prompt_tokens: Tokens handed in as prompts.
        requests: Replies asked for.
    """

    groups: tuple[tuple[Trajectory, ...], ...]
    dropped: dict[str, int]
    tokens: int
    prompt_tokens: int
    requests: int

    @property
    def trajectories(self) -> list[Trajectory]:
        """All trajectories of whole groups."""
        return [trajectory for group in self.groups for trajectory in group]


@dataclass(slots=True, eq=False)
class _Episode:
    """An episode that is going on."""

    start: Start
    dialogue: Dialogue
    tracks: list[Track] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


def check_context(setting: ChatSetting, chat: ChatFormat, max_tokens: int, limit: int) -> None:
    """Check before the first episode that the longest one fits.

    Args:
        setting: The task.
        chat: The model's template.
        max_tokens: Most tokens of a reply.
        limit: Tokens of the model's context.

    Raises:
        ConfigError: If it does not.
    """
    opening = len(chat.opening(setting.instruction(None), ""))
    need = opening + setting.max_turns * (max_tokens + USER_TOKENS)
    if need > limit:
        raise ConfigError(
            f"The model's context of {limit} tokens is too short: {opening} of instruction and {setting.max_turns} "
            f"turns of {max_tokens} tokens and a user's line of about {USER_TOKENS} take {need}. Lower max_turns or "
            "max_tokens, or raise max_model_len where the model allows it."
        )


class Collector:
    """Plays episodes.

    Args:
        setting: The task.
        sampler: What samples replies.
        chat: The model's template.
        max_tokens: Most tokens of a reply, thoughts included.
        slots: Conversations at a time.

    Attributes:
        engine_s: Seconds spent within the sampler so far; the rest of a rollout's time it was idle.

    Raises:
        ConfigError: If the context is too short for the task.
    """

    def __init__(
        self, setting: ChatSetting, sampler: Sampler, chat: ChatFormat, *, max_tokens: int, slots: int = 64
    ) -> None:
        self.setting, self.sampler, self.chat = setting, sampler, chat
        self.max_tokens, self.slots = max_tokens, slots
        self.engine_s = 0.0
        check_context(setting, chat, max_tokens, sampler.max_model_len)

    def collect(
        self, starts: Sequence[Start], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Rollout:
        """Play every start to its end.

        A group one of whose episodes faults is left out as a whole, and counted: a mean over the rest would
        compare siblings that were not treated alike.

        Args:
            starts: The episodes; the siblings of a group share scenario and seed.
            progress: Called with the number of episodes that are over, and of all.

        Raises:
            EngineError: If the sampler is in no state to go on.
        """
        return _Run(self, starts, progress).played()


class _Run:
    """One call of `Collector.collect`. Every live episode has exactly one reply under way."""

    def __init__(
        self, collector: Collector, starts: Sequence[Start], progress: Callable[[int, int], None]
    ) -> None:
        self.collector = collector
        self.setting, self.sampler, self.chat = collector.setting, collector.sampler, collector.chat
        self.max_tokens, self.slots = collector.max_tokens, collector.slots
        self.starts, self.progress = starts, progress
        self.waiting = deque(starts)
        self.live: dict[str, _Episode] = {}
        self.ended: dict[str, Trajectory] = {}
        self.faults: dict[int, str] = {}
        self.tokens = self.prompt_tokens = self.requests = 0

    def played(self) -> Rollout:
        """Play until nothing is left."""
        while self.waiting or self.live:
            self._submit(self._begun())
            began = time.perf_counter()
            samples = self.sampler.step()
            self.collector.engine_s += time.perf_counter() - began
            self._submit(self._heard(samples))
            self.progress(len(self.starts) - len(self.waiting) - len(self.live), len(self.starts))
        groups: dict[int, list[Trajectory]] = {}
        for start in self.starts:
            if start.group not in self.faults:
                groups.setdefault(start.group, []).append(self.ended[start.key])
        return Rollout(
            groups=tuple(tuple(group) for group in groups.values()),
            dropped=dict(sorted(Counter(self.faults.values()).items())),
            tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            requests=self.requests,
        )

    def _begun(self) -> list[_Episode]:
        """Begin as many episodes as there are free slots; those of a group that has faulted are passed over."""
        starts: list[Start] = []
        while self.waiting and len(self.live) + len(starts) < self.slots:
            start = self.waiting.popleft()
            if start.group not in self.faults:
                starts.append(start)
        setting = self.setting
        requests: list[BeginRequest | Dialogue] = [
            BeginRequest(s.scenario, s.seed, setting.difficulty, setting.max_turns, setting.initial_emotion)
            for s in starts
        ]
        dialogues = setting.begin(requests) if requests else []
        episodes = [_Episode(s, d) for s, d in zip(starts, dialogues, strict=True)]
        self.live |= {episode.start.key: episode for episode in episodes}
        return episodes

    def _submit(self, episodes: Sequence[_Episode]) -> None:
        """Ask for the next reply of each; an episode without hope leaves."""
        requests = []
        for episode in episodes:
            start = episode.start
            prompt = self._prompt(episode)
            if len(prompt) + self.max_tokens > self.sampler.max_model_len:
                self.faults.setdefault(start.group, "context")
            if start.group in self.faults:
                del self.live[start.key]
                continue
            draw = derive_seed(start.draws, "reply", episode.dialogue.turn)
            requests.append(
                SampleRequest(start.key, prompt, self.max_tokens, draw, temperature=start.temperature)
            )
            self.prompt_tokens += len(prompt)
        self.requests += len(requests)
        self.sampler.submit(requests)

    def _prompt(self, episode: _Episode) -> list[int]:
        """Return the tokens before the next reply; they are the episode's last segment so far."""
        dialogue, chat = episode.dialogue, self.chat
        instruction = self.setting.instruction(dialogue)
        if not episode.tracks:
            episode.tracks.append(Track())
            episode.tracks[-1].given(chat.opening(instruction, dialogue.last_line))
        elif chat.history_mode == "drop_thinking":
            messages = [{"role": m["role"], "content": m["content"]} for m in dialogue.messages]
            episode.tracks.append(Track())
            episode.tracks[-1].given(chat.render([{"role": "system", "content": instruction}, *messages]))
        else:
            track = episode.tracks[-1]
            track.given(chat.suffix(dialogue.last_line, track.ids[-1]))
        return list(episode.tracks[-1].ids)

    def _heard(self, samples: Sequence[Sample]) -> list[_Episode]:
        """Let the user answer what was sampled, and return the episodes that go on."""
        spoken: list[tuple[_Episode, Turn]] = []
        for sample in samples:
            episode = self.live[sample.key]
            self.tokens += len(sample.tokens)
            if sample.error is not None or not sample.tokens:
                self.faults.setdefault(episode.start.group, "engine")
            if episode.start.group in self.faults:
                del self.live[sample.key]
                continue
            track = episode.tracks[-1]
            start, end = track.sampled(sample.tokens, sample.logprobs, self.sampler.version)
            text = self.chat.text(sample.tokens)
            spoken.append((episode, Turn(len(episode.tracks) - 1, start, end, 0.0, text)))
        if not spoken:
            return []
        taken = self.setting.advance([e.dialogue for e, _ in spoken], [turn.text for _, turn in spoken])
        return [e for (e, turn), made in zip(spoken, taken, strict=True) if self._goes_on(e, turn, made)]

    def _goes_on(self, episode: _Episode, turn: Turn, made: Transition) -> bool:
        """Note what a reply came to, and return whether another one is due."""
        episode.dialogue = made.dialogue
        episode.turns.append(replace(turn, reward=made.reward))
        if not made.done:
            return True
        start = episode.start
        del self.live[start.key]
        if made.truncated:
            self.faults.setdefault(start.group, "simulator")
        else:
            segments = tuple(track.segment() for track in episode.tracks)
            self.ended[start.key] = Trajectory(start, segments, tuple(episode.turns), made.dialogue)
        return False
