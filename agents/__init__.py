"""Policies, and how to load them."""

from __future__ import annotations

from empathy_gym.agents.policy import Conversation, Policy, PrivilegedPolicy, Reply, as_policy, load_policy

__all__ = ["Conversation", "Policy", "PrivilegedPolicy", "Reply", "as_policy", "load_policy"]
