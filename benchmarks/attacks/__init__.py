"""Attackers of the reward: policies that should not score, and a search for more of them."""
