"""What a run would cost, without asking a model: its prompts are rendered and their tokens counted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from empathy_gym.benchmarks.rescore import transcripts
from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.engines.ledger import Ledger, Prices
from empathy_gym.simulators.engines.scripted import scripted
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.llm.compose import composed
from empathy_gym.simulators.llm.scripts import register_scripts
from empathy_gym.simulators.scenario import Scenario

if TYPE_CHECKING:
    from rich.console import Console

SAMPLE: Final = 12
"""Scenarios that are played for the estimate."""
ROLES: Final = ("perceiver", "speaker")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run of the simulated user would use. Tokens are estimated at four characters each.

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
) -> Estimate:
    """Estimate a run: a sample of it is played with a script in place of the model.

    Args:
        config: What `SimulatorConfig.load` takes; its engine and tape are not touched.
        episodes: Episodes of the run, at least 1.
        max_turns: Cap on scored replies; episodes are taken to last that long.
        prices: What tokens cost, for all roles or by role.
        scenarios: Who is talked with; of the split ``test`` by default.

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
    played = len(transcripts(sample, policies=("scripted:listener",), turns=max_turns, user=user))
    turns = episodes * max_turns
    used = ledger.snapshot()
    roles = [role for role in ROLES if role in used]

    def scaled(name: str) -> dict[str, int]:
        return {role: round(used[role][name] * turns / max(1, played)) for role in roles}

    prompt, completion = scaled("prompt_tokens"), scaled("completion_tokens")
    return Estimate(
        episodes=episodes,
        turns=turns,
        requests=scaled("requests"),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=None if prices is None else _cost(prices, prompt, completion),
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
