"""Warm start: supervised fine-tuning on talks, so that a small model can hold a conversation.

The talks are played by scripted policies, and written by hand (``data/talks.yaml``).

The policies see what any policy sees. One that is told the need would teach replies that cannot be known to be right
from the conversation, and is refused. Replies are cut to whole sentences within the recipe's cap *before* they are
said, so that the user has answered what is learnt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from empathy_gym.agents.policy import Conversation, Policy, Reply, load_policy
from empathy_gym.agents.rollout.tokens import ChatFormat, Segment, Track
from empathy_gym.agents.trainers.chat_model import ChatModel
from empathy_gym.agents.trainers.policy_update import shuffled
from empathy_gym.agents.trainers.recipe import Recipe
from empathy_gym.envs.instructions import instruction_for
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, derive_seed
from empathy_gym.simulators.errors import ConfigError

SENTENCES: Final = re.compile(r"(?<=[.!?。！？])\s*")  # noqa: RUF001
BUNDLED: Final = Path(__file__).parent / "data" / "talks.yaml"
UNIT: Final = 64
"""Conversations at a time."""


def warm_segments(recipe: Recipe, chat: ChatFormat, setting: ChatSetting) -> list[Segment]:
    """Play the recipe's policies and return their talks, and the written ones, as token sequences.

    Raises:
        ConfigError: If a policy is unknown or sees what is hidden.
    """
    assert recipe.warm_start is not None
    given, found = recipe.warm_start, []
    policies = [_checked(spec) for spec in given.policies]
    people, seed = setting.scenarios, recipe.seed
    order = sorted(range(len(people)), key=lambda i: derive_seed(seed, "warm", i))
    for number, policy in enumerate(policies):
        mine = range(number, given.episodes, len(policies))
        requests = [
            BeginRequest(
                people[order[i % len(people)]],
                derive_seed(seed, "warm", "dialogue", i),
                setting.difficulty,
                setting.max_turns,
                setting.initial_emotion,
            )
            for i in mine
        ]
        for dialogue in played(
            setting, policy, requests, lambda text: shortened(chat, text, recipe.rollout.max_tokens)
        ):
            lines = [message["content"] for message in dialogue.messages]
            found.append(taught(chat, setting.instruction(dialogue), lines))
    cap = recipe.rollout.max_tokens
    for talk in written_talks(given.talks) if given.talks is not None else ():
        lines = [shortened(chat, line, cap) if at % 2 else line for at, line in enumerate(talk[: 2 * setting.max_turns])]
        found.append(taught(chat, instruction_for("en", setting.think), lines))
    return found


def written_talks(source: str) -> list[list[str]]:
    """Return conversations that somebody wrote, as lines of the person and of the listener by turns.

    Args:
        source: ``"bundled"``, or the path of a YAML file: a list of lists of lines.

    Raises:
        ConfigError: If the file cannot be read, or is something else.
    """
    path = BUNDLED if source == "bundled" else Path(source)
    try:
        talks = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"warm_start.talks: {path}: {' '.join(str(error).split())}") from None
    if not isinstance(talks, list) or not talks:
        raise ConfigError(f"warm_start.talks: {path}: must be a list of conversations.")
    for number, talk in enumerate(talks, start=1):
        lines = talk if isinstance(talk, list) else []
        if not lines or len(lines) % 2 or not all(isinstance(x, str) and x.strip() for x in lines):
            raise ConfigError(
                f"warm_start.talks: {path}: conversation {number} must be a list of lines, the person's and the "
                "listener's by turns, the listener's last."
            )
    return talks


def _checked(spec: str) -> Policy:
    policy = load_policy(spec)
    if getattr(policy, "privileged", False):
        raise ConfigError(
            f"warm_start.policies names {spec!r}, which sees need and emotion; a policy cannot learn to know them. "
            "Take scripted:listener or scripted:slipping-15."
        )
    return policy  # type: ignore[return-value]


def played(
    setting: ChatSetting, policy: Policy, requests: Sequence[BeginRequest], say: Callable[[str], str]
) -> list[Dialogue]:
    """Play episodes to their end.

    Args:
        setting: The task.
        policy: Who talks.
        requests: The episodes.
        say: What becomes of a reply before it is said.
    """
    ended: list[Dialogue] = []
    for start in range(0, len(requests), UNIT):
        chunk = requests[start : start + UNIT]
        dialogues = setting.begin(chunk)
        while live := [i for i, d in enumerate(dialogues) if not d.ended]:
            replies = policy.act([_conversation(setting, dialogues[i], start + i) for i in live])
            texts = [say(r.text if isinstance(r, Reply) else r) for r in replies]
            for i, made in zip(live, setting.advance([dialogues[i] for i in live], texts), strict=True):
                dialogues[i] = made.dialogue
        ended += dialogues
    return [d for d in ended if not d.truncated]


def _conversation(setting: ChatSetting, dialogue: Dialogue, number: int) -> Conversation:
    return Conversation(
        key=str(number),
        messages=[{"role": m["role"], "content": m["content"]} for m in dialogue.messages],
        instruction=setting.instruction(dialogue),
        language=dialogue.source.language,
        turn=dialogue.turn,
        max_turns=dialogue.max_turns,
        think=setting.think,
        seed=derive_seed(dialogue.seed, "warm", "policy"),
    )


def shortened(chat: ChatFormat, text: str, max_tokens: int) -> str:
    """Return as many whole sentences as fit, with the token that ends them; of a first one too long, what fits."""
    kept = ""
    for sentence in SENTENCES.split(text.strip()):
        longer = f"{kept} {sentence}".strip()
        if len(chat.encode(longer)) + 1 > max_tokens:
            break
        kept = longer
    return kept or chat.text(chat.encode(text.strip())[: max_tokens - 1]).strip()


def taught(chat: ChatFormat, instruction: str, lines: Sequence[str]) -> Segment:
    """Return a talk as tokens, with the mask on every reply and its end.

    Args:
        chat: The model's template.
        instruction: What stands before the talk.
        lines: Of the person and of the listener by turns; what the person says last is left out.
    """
    track = Track()
    track.given(chat.opening(instruction, lines[0]))
    for at in range(1, len(lines), 2):
        ids = [*chat.encode(lines[at]), chat.end]
        track.sampled(ids, [0.0] * len(ids), 0)
        if at + 2 < len(lines):
            track.given(chat.suffix(lines[at + 1], chat.end))
    return track.segment()


def fine_tune(
    model: ChatModel,
    segments: Sequence[Segment],
    *,
    learning_rate: float,
    epochs: int,
    batch: int,
    micro_batch: int,
    max_grad_norm: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Maximise the likelihood of the marked tokens: AdamW, the rate falling to 0 along a line.

    Args:
        model: The network.
        segments: What to learn.
        learning_rate: At the start.
        epochs: Times that every segment is seen.
        batch: Segments of an optimiser step.
        micro_batch: Segments of a forward pass.
        max_grad_norm: Bound of the gradient.
        seed: Of the order.
        progress: Told how many optimiser steps are done, and of how many.

    Returns:
        Mean negative log-likelihood of a token, in nats, for each optimiser step.
    """
    torch = model.torch
    optimiser: Any = torch.optim.AdamW(model.parameters, lr=learning_rate, weight_decay=0.0)
    parts = -(-len(segments) // batch)
    losses: list[float] = []
    for epoch in range(epochs):
        for chosen in shuffled(len(segments), parts, seed, epoch):
            picked = sorted((segments[i] for i in chosen), key=lambda s: len(s.ids))
            tokens, total = sum(sum(s.mask) for s in picked), 0.0
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1.0 - len(losses) / (parts * epochs))
            optimiser.zero_grad(set_to_none=True)
            for at in range(0, len(picked), micro_batch):
                part = picked[at : at + micro_batch]
                loss = -model.score([s.ids for s in part], [s.mask for s in part]).logprobs.sum() / tokens
                loss.backward()
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters, max_grad_norm)
            optimiser.step()
            losses.append(total)
            progress(len(losses), parts * epochs)
    return losses
