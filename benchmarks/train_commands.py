"""`empathy-gym train`: trainers by name. What each does is in a module of its own, imported when it runs."""

from __future__ import annotations

import typer

from empathy_gym.benchmarks.train_chat_command import grpo, ppo, rft, speed

train_app = typer.Typer(help="Train policies.", no_args_is_help=False)
train_app.command("grpo")(grpo)
train_app.command("ppo")(ppo)
train_app.command("rft")(rft)
train_app.command("speed")(speed)
