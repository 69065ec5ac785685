"""Warm start: supervised fine-tuning on talks, so that a small model can hold a conversation.

The talks are played by scripted policies, and written by hand (``data/talks.yaml``).

The policies see what any policy sees. One that is told the need would teach replies that cannot be known to be right
from the conversation, and is refused. Replies are cut to whole sentences within the recipe's cap *before* they are
said, so that the user has answered what is learnt.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from empathy_gym.agents.policy import Conversation, Policy, Reply, load_policy
from empathy_gym.agents.rollout.tokens import ChatFormat, Segment, Track
from empathy_gym.agents.trainers.chat_model import ChatModel, chat_format, load_state, save_state
from empathy_gym.agents.trainers.policy_update import shuffled
from empathy_gym.agents.trainers.recipe import OptimiserRecipe, Recipe, WarmStartRecipe
from empathy_gym.agents.trainers.run_folder import WARM, WARMING, RunFolder
from empathy_gym.envs.instructions import instruction_for
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, derive_seed
from empathy_gym.simulators.errors import ConfigError

SENTENCES: Final = re.compile(r"(?<=[.!?。！？])\s*")  # noqa: RUF001
BUNDLED: Final = Path(__file__).parent / "data" / "talks.yaml"
UNIT: Final = 64
"""Conversations at a time."""
KEPT: Final = 10
"""Optimiser steps after which what is learnt so far is kept."""


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
        lines = [
            shortened(chat, line, cap) if at % 2 else line
            for at, line in enumerate(talk[: 2 * setting.max_turns])
        ]
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
    given: WarmStartRecipe,
    settings: OptimiserRecipe,
    *,
    seed: int,
    state: Mapping[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda state: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Maximise the likelihood of the marked tokens: AdamW, the rate falling to 0 along a line.

    Args:
        model: The network.
        segments: What to learn.
        given: Learning rate, epochs, segments of an optimiser step.
        settings: Segments of a forward pass, bound of the gradient.
        seed: Of the order.
        state: What `keep` was given before; the network has to be what it was then.
        keep: Given every few steps what it takes to go on from there.
        progress: Told how many optimiser steps are done, and of how many.

    Returns:
        Mean negative log-likelihood of a token, in nats, for each optimiser step.
    """
    torch, micro = model.torch, settings.micro_batch
    optimiser: Any = torch.optim.AdamW(model.parameters, lr=given.learning_rate, weight_decay=0.0)
    losses: list[float] = []
    if state is not None:
        optimiser.load_state_dict(state["optimiser"])
        losses = list(state["losses"])
    parts = -(-len(segments) // given.batch)
    steps = [
        chosen for epoch in range(given.epochs) for chosen in shuffled(len(segments), parts, seed, epoch)
    ]
    for chosen in steps[len(losses) :]:
        picked = sorted((segments[i] for i in chosen), key=lambda s: len(s.ids))
        tokens, total = sum(sum(s.mask) for s in picked), 0.0
        for group in optimiser.param_groups:
            group["lr"] = given.learning_rate * (1.0 - len(losses) / len(steps))
        optimiser.zero_grad(set_to_none=True)
        for at in range(0, len(picked), micro):
            part = picked[at : at + micro]
            loss = -model.score([s.ids for s in part], [s.mask for s in part]).logprobs.sum() / tokens
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters, settings.max_grad_norm)
        optimiser.step()
        losses.append(total)
        progress(len(losses), len(steps))
        if len(losses) % KEPT == 0 and len(losses) < len(steps):
            keep({"optimiser": optimiser.state_dict(), "losses": losses})
    return losses


def warmed(
    recipe: Recipe,
    folder: RunFolder,
    setting: ChatSetting,
    notice: Callable[[str], None],
    progress: Callable[[str, int, int], None],
) -> Path:
    """Return the folder of the model after the warm start, which is done once for a run; stopped, it is taken up again.

    Args:
        recipe: With a section `warm_start`.
        folder: The run's.
        setting: The task.
        notice: Told in one line how it went.
        progress: Told what is going on, how much of it is done, and of how much.

    Raises:
        ConfigError: If the model, a policy or the file of talks cannot be used, or what was kept is damaged.
        EmpathyGymError: If the folder cannot be written.
    """
    assert recipe.warm_start is not None
    place, kept = folder.path / WARM, folder.path / WARMING
    if (place / "config.json").is_file():
        return place
    model = ChatModel(recipe.model, optimiser=recipe.optimiser, lora=recipe.lora, seed=recipe.seed)
    segments = warm_segments(recipe, chat_format(model, recipe), setting)

    def keep(state: dict[str, Any]) -> None:
        folder.export(WARMING, lambda scratch: save_state(model, state, scratch))

    losses = fine_tune(
        model,
        segments,
        recipe.warm_start,
        recipe.optimiser,
        seed=recipe.seed,
        state=load_state(model, kept) if kept.is_dir() else None,
        keep=keep,
        progress=lambda done, total: progress("warm start", done, total),
    )
    notice(f"Warm start on {len(segments)} talks: {losses[0]:.3f} to {losses[-1]:.3f} nats a token.")
    folder.export(WARM, model.save)
    shutil.rmtree(kept, ignore_errors=True)
    return place
