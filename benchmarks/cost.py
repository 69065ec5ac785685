"""What a run would cost, without asking a model: its prompts are rendered and their tokens counted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from empathy_gym.agents.policies.models import KINDS as MODEL_POLICIES
from empathy_gym.benchmarks.rescore import Item, transcripts
from empathy_gym.envs.instructions import instruction_for
from empathy_gym.envs.setting import ChatSetting, integer
from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.engines.base import ChatReply
from empathy_gym.simulators.engines.ledger import Ledger, Prices
from empathy_gym.simulators.engines.scripted import CHARS_PER_TOKEN, scripted
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.compose import check, composed
from empathy_gym.simulators.llm.scripts import register_scripts
from empathy_gym.simulators.scenario import Scenario

if TYPE_CHECKING:
    from rich.console import Console

    from empathy_gym.benchmarks.runner import BenchConfig

SAMPLE: Final = 12
"""Scenarios that are played for the estimate."""
ROLES: Final = ("perceiver", "speaker", "policy")


_SILENT: Final = SimulatorConfig(perceiver="embedded", speaker="written")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would use. Tokens are estimated at four characters each.

    Attributes:
        episodes: Episodes of the run.
        turns: Turns of the run, at most.
        requests: Requests by role, repairs left out.
        prompt_tokens: Tokens of prompts by role.
        completion_tokens: Tokens of completions by role.
        cost: Cost in the currency of the prices by role and in total, or None.
    """

    episodes: int
    turns: int
    requests: dict[str, int]
    prompt_tokens: dict[str, int]
    completion_tokens: dict[str, int]
    cost: dict[str, float] | None


def estimate(
    config: SimulatorConfig | Mapping[str, Any] | str | os.PathLike[str],
    *,
    episodes: int,
    max_turns: int = 8,
    prices: Prices | Mapping[str, Prices] | None = None,
    scenarios: Sequence[Scenario] | None = None,
    policy_episodes: int = 0,
) -> Estimate:
    """Estimate a run: a sample of it is played with a script in place of the model.

    Args:
        config: What `SimulatorConfig.load` takes; its engine and tape are not touched.
        episodes: Episodes of the run, at least 1.
        max_turns: Cap on scored replies; episodes are taken to last that long.
        prices: What tokens cost, for all roles or by role.
        scenarios: Who is talked with; of the split ``test`` by default.
        policy_episodes: Episodes in which the policy is a language model, too; its replies are taken to be as
            long as those of ``scripted:listener``.

    Raises:
        ConfigError: If a number is not valid.
    """
    if episodes < 1 or max_turns < 1:
        raise ConfigError(f"episodes={episodes}, max_turns={max_turns}: both must be at least 1.")
    loaded = SimulatorConfig.load(config)
    register_scripts()
    ledger = Ledger()
    user = composed(loaded, scripted("agreeable"), ledger)
    sample = (load_scenarios("test") if scenarios is None else scenarios)[:SAMPLE]
    items = transcripts(sample, policies=("scripted:listener",), turns=max_turns, user=user)
    played, turns = len(items), episodes * max_turns
    if policy_episodes:
        ledger.add("policy", [_policy_share(item, policy_episodes / episodes) for item in items])
    used = ledger.snapshot()
    roles = [role for role in ROLES if role in used]

    def scaled(name: str) -> dict[str, int]:
        return {role: round(used[role][name] * turns / max(1, played)) for role in roles}

    requests = scaled("requests")
    if policy_episodes:
        requests["policy"] = policy_episodes * max_turns
    prompt, completion = scaled("prompt_tokens"), scaled("completion_tokens")
    return Estimate(
        episodes=episodes,
        turns=turns,
        requests=requests,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=None if prices is None else _cost(prices, prompt, completion),
    )


def _policy_share(item: Item, share: float) -> ChatReply:
    """Return the tokens of one turn of a policy that is a model in some of the episodes."""
    instruction = instruction_for(item.dialogue.source.language, False)
    prompt = len(instruction) + sum(len(m["content"]) for m in item.dialogue.messages)
    tokens = {"prompt_tokens": prompt, "completion_tokens": len(item.reply)}
    return ChatReply(usage={name: round(share * n / CHARS_PER_TOKEN) for name, n in tokens.items()})


def estimate_run(config: BenchConfig, prices: Prices | None = None) -> Estimate:
    """Estimate a bench run, user and policies, without building an engine.

    Args:
        config: The run.
        prices: What tokens cost, the user's and the policies' alike.

    Raises:
        ConfigError: If the run is not valid.
    """
    kwargs = config.kwargs()
    kwargs.pop("simulator_config", None)
    asks = config.simulator == "llm"
    loaded = SimulatorConfig.load(config.simulator_config) if asks else _SILENT
    if asks:
        check(loaded)
    setting = ChatSetting.make({**kwargs, "simulator": "embedded"} if asks else config.kwargs())
    scenarios = setting.scenarios[: config.limit]
    models = [spec for spec in config.policies if spec.partition(":")[0] in MODEL_POLICIES]
    each = len(scenarios) * integer("repeats", config.repeats, 1)
    return estimate(
        loaded,
        episodes=each * max(1, len(config.policies)),
        max_turns=setting.max_turns,
        prices=prices,
        scenarios=scenarios,
        policy_episodes=each * len(models),
    )


def _cost(
    prices: Prices | Mapping[str, Prices], prompt: Mapping[str, int], completion: Mapping[str, int]
) -> dict[str, float]:
    costs = {}
    for role in prompt:
        price = prices if isinstance(prices, Prices) else prices.get(role)
        if price is None:
            raise ConfigError(
                f"There is no price for the role {role!r}; give one, Prices(0, 0) for a local model."
            )
        costs[role] = (prompt[role] * price.prompt + completion[role] * price.completion) / 1e6
    return {**costs, "total": sum(costs.values())}


def print_estimate(result: Estimate, console: Console) -> None:
    """Print requests, tokens and cost by role."""
    from rich.table import Table

    table = Table(title=f"Estimate: {result.episodes} episodes, at most {result.turns} turns")
    for heading in ("role", "requests", "prompt tokens", "completion tokens", "cost"):
        table.add_column(heading, justify="left" if heading == "role" else "right")
    for role in result.requests:
        cost = "-" if result.cost is None else f"{result.cost[role]:.2f}"
        numbers = (result.requests[role], result.prompt_tokens[role], result.completion_tokens[role])
        table.add_row(role, *(f"{n:,}" for n in numbers), cost)
    console.print(table)
