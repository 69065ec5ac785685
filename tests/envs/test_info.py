"""Infos of a batch, taken apart again."""

from __future__ import annotations

import gymnasium as gym

from empathy_gym.envs.info import unbatch_info, unbatch_infos


def test_all_infos_taken_apart_at_once_are_those_taken_apart_one_by_one():
    envs = gym.make_vec("EmpathyChat-v0", 3, max_turns=2)
    _, infos = envs.reset(seed=0)
    assert unbatch_infos(infos, 3) == [unbatch_info(infos, i) for i in range(3)]
    for _ in range(3):
        *_, infos = envs.step(["I see.", "", "What happened then?"])
        for batch in (infos, infos.get("final_info", {})):
            told = unbatch_infos(batch, 3)
            assert told == [unbatch_info(batch, i) for i in range(3)]
            for info in told:
                assert all(type(info.get(key, 0)) is int for key in ("turn", "emotion", "trust"))
                assert type(info.get("messages", [])) is list
