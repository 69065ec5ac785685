"""What prompts have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empathy_gym.agents.rollout.kept import Kept, common_prefix

IDS = st.lists(st.integers(0, 2), min_size=1, max_size=8)


@given(IDS, st.lists(IDS, min_size=1, max_size=4))
def test_a_common_prefix_is_one_as_long_as_can_be_and_leaves_a_token_to_read(stem, tails) -> None:
    prompts = [stem + tail for tail in tails]
    shared = common_prefix(prompts)
    assert all(p[:shared] == prompts[0][:shared] and len(p) > shared for p in prompts)
    longer = {tuple(p[: shared + 1]) for p in prompts}
    assert len(longer) > 1 or shared == min(map(len, prompts)) - 1


@pytest.mark.parametrize(
    ("kept", "prompt", "shared"),
    [((1, 2, 3), (1, 2, 3, 4), 3), ((1, 2, 3), (1, 2, 3), 2), ((1, 9), (1, 2, 3), 1), ((), (1, 2), 0)],
)
def test_the_last_token_of_a_prompt_is_always_read(kept, prompt, shared) -> None:
    assert Kept(kept, []).shared(prompt) == shared
