"""What importing costs, and determinism over processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import empathy_gym
from empathy_gym.simulators import errors

HEAVY = ("torch", "transformers", "vllm", "stable_baselines3", "httpx", "typer", "rich", "pandas", "scipy")


def _python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout


def test_importing_loads_nothing_heavy_and_no_second_copy_of_a_folder():
    loaded = set(json.loads(_python("import sys, json, empathy_gym; print(json.dumps(sorted(sys.modules)))")))
    assert not loaded & set(HEAVY)
    assert not loaded & {"envs", "agents", "simulators", "rewards", "benchmarks"}
    assert "empathy_gym.simulators.embedded.perceiver" not in loaded


def test_importing_prints_nothing_and_reads_no_library():
    code = (
        "import yaml\n"
        "def refuse(*a, **k): raise RuntimeError('parsed YAML at import')\n"
        "yaml.load = yaml.safe_load = refuse\n"
        "import empathy_gym"
    )
    assert _python(code) == ""


def test_importing_costs_little_over_what_it_is_built_on():
    code = (
        "import time, gymnasium, pydantic, numpy, yaml\n"
        "start = time.process_time()\nimport empathy_gym\nprint(time.process_time() - start)"
    )
    assert min(float(_python(code)) for _ in range(3)) < 0.5


def test_the_root_exports_every_error_and_little_else():
    assert len(empathy_gym.__all__) <= 15
    assert all(hasattr(empathy_gym, name) for name in empathy_gym.__all__)
    tree = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.EmpathyGymError)]
    assert {e.__name__ for e in tree} <= set(empathy_gym.__all__)
    assert empathy_gym.__version__[0].isdigit()


RUN = """
import gymnasium as gym, empathy_gym, json
env = gym.make("EmpathyChat-v0")
out = [env.reset(seed=7)]
for reply in ("That sounds hard. What did they say?", "I am sorry it happened like this.", "", "And then?"):
    out.append(env.step(reply))
    if out[-1][2]:
        break
print(json.dumps([out, env.unwrapped.user.fingerprint, env.unwrapped.instruction]))
"""


RESPONSES = """
import gymnasium as gym, empathy_gym, json
env = gym.make("EmpathyResponse-v0", guard=True, length_weight=0.5, copy_weight=0.5)
out = [env.reset(seed=7)]
for response in ("That sounds hard. What did they say?", "I had the same last year.", "", "And then?"):
    out += [env.step(response), env.reset()]
setting = env.unwrapped.setting
out += [setting.reward.fingerprint, [exchange.id for exchange in setting.exchanges]]
print(json.dumps([out, "scenario"]))
"""


@pytest.mark.parametrize("code", [RUN, RESPONSES])
def test_an_episode_is_the_same_in_every_process_whatever_the_hash_seed(code):
    runs = {_python(code, PYTHONHASHSEED=seed) for seed in ("0", "1", "4242")}
    assert len(runs) == 1 and "scenario" in runs.pop()
