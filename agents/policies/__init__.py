"""Scripted policies: references, and attackers a reward must not fall for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from empathy_gym.agents.policies import blind, graded
from empathy_gym.agents.policies.advisor import AdvisorPolicy
from empathy_gym.agents.policies.eliza import ElizaPolicy, TemplatePolicy
from empathy_gym.agents.policies.listener import ListenerPolicy
from empathy_gym.agents.policies.oracle import OraclePolicy
from empathy_gym.agents.policy import Policy, PrivilegedPolicy
from empathy_gym.simulators.errors import unknown_name

SCRIPTED: Final[dict[str, Callable[[], Policy | PrivilegedPolicy]]] = {
    "oracle": OraclePolicy,
    "listener": ListenerPolicy,
    "advisor": AdvisorPolicy,
    "template": TemplatePolicy,
    "eliza": ElizaPolicy,
    **graded.POLICIES,
    **blind.POLICIES,
}
"""Every scripted policy by name."""


def make_scripted(name: str) -> Policy | PrivilegedPolicy:
    """Return a scripted policy.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in SCRIPTED:
        raise unknown_name("scripted policy", name, SCRIPTED)
    return SCRIPTED[name]()
