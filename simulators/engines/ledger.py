"""What language models were asked and what it costs, by role: the user's models apart from the policy's."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, close, identity_of
from empathy_gym.simulators.errors import ConfigError

ROLES: Final = ("perceiver", "speaker", "policy")
"""The roles the package itself uses; any other name may be counted too."""
_COUNTS: Final = ("requests", "cached", "failures", "retries", "prompt_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model costs.

    Attributes:
        prompt: Price of a million prompt tokens, 0 or more, in any currency.
        completion: Price of a million generated tokens, 0 or more, in the same currency.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            price = getattr(self, name)
            if not 0.0 <= price < float("inf"):
                raise ConfigError(
                    f"The {name} price is {price!r}; it must be a number of 0 or more per million."
                )


@dataclass(slots=True)
class _Account:
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Ledger:
    """Counts requests and tokens by role. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}

    def __repr__(self) -> str:
        return f"Ledger({self.snapshot()!r})"

    def add(self, role: str, replies: Sequence[ChatReply], seconds: float = 0.0) -> None:
        """Count replies.

        Tokens of replies that came from a tape are not counted: nobody computed them this time.

        Args:
            role: Who asked.
            replies: What came back.
            seconds: Wall-clock time that the call took.
        """
        with self._lock:
            account = self._accounts.setdefault(role, _Account())
            account.seconds += seconds
            for reply in replies:
                _count(account, reply)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Return plain counts by role, and their sum under ``"total"``.

        Each has ``requests``, ``cached``, ``failures`` (by kind in ``failure_kinds``), ``retries``,
        ``prompt_tokens``, ``completion_tokens`` and ``seconds`` spent waiting.
        """
        with self._lock:
            roles = {role: _plain(account) for role, account in sorted(self._accounts.items())}
            total = _Account()
            for account in self._accounts.values():
                total.counts.update(account.counts)
                total.kinds.update(account.kinds)
                total.seconds += account.seconds
        return {**roles, "total": _plain(total)}

    def cost(self, prices: Prices | Mapping[str, Prices]) -> dict[str, float]:
        """Return the cost by role and in total, in the currency of the prices.

        Args:
            prices: One for all roles, or one for each role that asked something.

        Raises:
            ConfigError: If a role has no price.
        """
        costs: dict[str, float] = {}
        for role, counts in self.snapshot().items():
            if role == "total":
                continue
            price = prices if isinstance(prices, Prices) else prices.get(role)
            if price is None:
                raise ConfigError(
                    f"There is no price for the role {role!r}; give one, Prices(0, 0) for a local model."
                )
            tokens = counts["prompt_tokens"] * price.prompt + counts["completion_tokens"] * price.completion
            costs[role] = tokens / 1e6
        return {**costs, "total": sum(costs.values())}

    def clear(self) -> None:
        """Forget everything counted so far."""
        with self._lock:
            self._accounts.clear()


def usage_since(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, int]]:
    """Return what was counted between two snapshots, by role: requests and tokens, no times and no sum.

    Roles that asked nothing are left out.
    """
    found: dict[str, dict[str, int]] = {}
    for role, counts in after.items():
        if role != "total":
            earlier = before.get(role, {})
            grown = {name: int(counts[name]) - int(earlier.get(name, 0)) for name in _COUNTS}
            found |= {role: grown} if any(grown.values()) else {}
    return found


def usage_sum(*usages: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return usages by role, added up."""
    found: dict[str, dict[str, int]] = {}
    for usage in usages:
        for role, counts in usage.items():
            sums = found.setdefault(role, dict.fromkeys(_COUNTS, 0))
            for name in _COUNTS:
                sums[name] += int(counts.get(name, 0))
    return dict(sorted(found.items()))


def _count(account: _Account, reply: ChatReply) -> None:
    counts = account.counts
    counts["requests"] += 1
    if reply.cached:
        counts["cached"] += 1
        return
    for name in ("retries", "prompt_tokens", "completion_tokens"):
        counts[name] += reply.usage.get(name, 0)
    if reply.error is not None:
        counts["failures"] += 1
        account.kinds[reply.error_kind or "engine"] += 1


def _plain(account: _Account) -> dict[str, Any]:
    counts: dict[str, Any] = {name: account.counts[name] for name in _COUNTS}
    return {**counts, "failure_kinds": dict(sorted(account.kinds.items())), "seconds": account.seconds}


class Counted:
    """An engine whose requests are counted in a ledger under one role.

    Args:
        engine: The engine; a `Tape` goes inside, so that what it replays is counted as cached.
        ledger: Where to count.
        role: ``"perceiver"``, ``"speaker"``, ``"policy"`` or another name except ``"total"``.

    Raises:
        ConfigError: If the role is ``"total"`` or empty.
    """

    def __init__(self, engine: ChatEngine, ledger: Ledger, role: str) -> None:
        if not role or role == "total":
            raise ConfigError(f"The role is {role!r}; use one of {', '.join(ROLES)} or another name.")
        self.engine, self.ledger, self.role = engine, ledger, role
        self.model, self.revision = identity_of(engine)

    def __repr__(self) -> str:
        return f"Counted({self.engine!r}, role={self.role!r})"

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Complete with the inner engine and count what came back."""
        started = time.perf_counter()
        replies = self.engine.complete(requests)
        self.ledger.add(self.role, replies, time.perf_counter() - started)
        return replies

    def close(self) -> None:
        """Close the inner engine."""
        close(self.engine)
