"""What docs/training-sb3.md shows of messages is what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.adapters

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "training-sb3.md"


def test_the_message_about_text_is_the_one_that_is_given():
    import gymnasium as gym

    import empathy_gym  # noqa: F401
    from empathy_gym.agents.adapters.sb3 import SB3VecEnv
    from empathy_gym.simulators.errors import ConfigError

    with pytest.raises(ConfigError) as error:
        SB3VecEnv(gym.make("EmpathyChat-v0"))
    assert str(error.value) in " ".join(DOCUMENT.read_text("utf-8").split())
