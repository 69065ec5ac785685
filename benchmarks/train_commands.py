"""`empathy-gym train`: trainers by name. What each does is in a module of its own, imported when it runs."""

from __future__ import annotations

import typer

from empathy_gym.benchmarks.train_chat_command import grpo, ppo, rft, speed
from empathy_gym.benchmarks.train_emprl_command import emprl
from empathy_gym.benchmarks.train_sb3_command import sb3, sb3_table

train_app = typer.Typer(help="Train policies.", no_args_is_help=False)
train_app.command("sb3")(sb3)
train_app.command("sb3-table")(sb3_table)
train_app.command("emprl")(emprl)
train_app.command("grpo")(grpo)
train_app.command("ppo")(ppo)
train_app.command("rft")(rft)
train_app.command("speed")(speed)
