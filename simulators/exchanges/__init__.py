"""Exchanges for the single-turn task: a bundled sample, files of one's own, EmpatheticDialogues.

The sample was written for this project (Apache-2.0). EmpatheticDialogues is CC BY-NC 4.0: it is read from its
published archive, never shipped.
"""

from __future__ import annotations

from empathy_gym.simulators.exchanges.exchange import EMOTIONS, SPLITS, Exchange
from empathy_gym.simulators.exchanges.loading import load_exchanges

__all__ = ["EMOTIONS", "SPLITS", "Exchange", "load_exchanges"]
