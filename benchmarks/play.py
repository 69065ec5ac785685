"""Being the policy oneself, in a terminal.

Nothing is stored. If a person types crisis words, or the perceiver takes them for such, the simulated user
stops and a fixed notice is shown instead of a game.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console

from empathy_gym.benchmarks.console import safe
from empathy_gym.envs.setting import ChatSetting
from empathy_gym.simulators.dialogue import BeginRequest, Dialogue, band
from empathy_gym.simulators.packaged import read_mapping
from empathy_gym.simulators.scenario import Scenario

CRISIS_GUARDS: Final = ("policy_harm", "crisis_check")
_APOSTROPHES: Final = re.compile("['\u2018\u2019`\u00b4]")
HELP: Final = "Type a reply. /why: what the last one did. /quit: stop. /help: this line."


def _crisis() -> Mapping[str, Any]:
    return read_mapping("empathy_gym.benchmarks", "crisis.yaml")


def notice() -> str:
    """Return the fixed notice."""
    return str(_crisis()["notice"]).strip()


def sounds_like_crisis(text: str) -> bool:
    """Return whether a person's words are taken for a crisis of their own. Errs on the side of yes."""
    plain = _APOSTROPHES.sub("", text.lower())
    for idiom in _crisis()["idioms"]:
        plain = re.sub(idiom, " ", plain)
    return any(re.search(pattern, plain) for pattern in _crisis()["patterns"])


class Game:
    """One conversation with a person at the keyboard.

    Args:
        setting: The task.
        console: Where it is printed.
        read: Returns the next line typed; raises EOFError at the end.
        show_emotion: Whether the emotion is shown during the conversation.
    """

    def __init__(
        self, setting: ChatSetting, console: Console, read: Callable[[], str], *, show_emotion: bool = True
    ) -> None:
        self.setting, self.console = setting, console
        self.read, self.show_emotion = read, show_emotion

    def play(self, scenario: Scenario, seed: int) -> None:
        """Play until the conversation ends or the person stops: /quit, Ctrl-C or the end of input."""
        setting = self.setting
        request = BeginRequest(scenario, seed, setting.difficulty, setting.max_turns, setting.initial_emotion)
        dialogue = setting.begin([request])[0]
        self._print(HELP, "dim")
        try:
            self._play(dialogue)
        except (EOFError, KeyboardInterrupt):
            self._print("\nGoodbye.", "dim")

    def _play(self, dialogue: Dialogue) -> None:
        self._said(dialogue)
        while (reply := self._reply(dialogue)) is not None:
            if sounds_like_crisis(reply):
                return self._print(notice())
            dialogue = self.setting.advance([dialogue], [reply])[0].dialogue
            if dialogue.appraisals and dialogue.appraisals[-1].guard in CRISIS_GUARDS:
                return self._print(notice())
            self._said(dialogue)
            if dialogue.ended:
                return self._over(dialogue)
        self._print("Goodbye.", "dim")

    def _reply(self, dialogue: Dialogue) -> str | None:
        """Return what is typed to the user, or None at /quit; answer other commands."""
        while True:
            self.console.print("you> ", end="", style="bold")
            text = self.read().strip()
            if text == "/quit":
                return None
            if text == "/why":
                self._why(dialogue)
            elif text.startswith("/"):
                self._print(HELP, "dim")
            elif text:
                return text

    def _said(self, dialogue: Dialogue) -> None:
        name = dialogue.source.persona.name
        self.console.print(safe(f"\n{name}: ", "bold"), safe(dialogue.last_line), sep="")
        if self.show_emotion:
            turn = f"turn {dialogue.turn}/{dialogue.max_turns}"
            self._print(f"[emotion {dialogue.emotion} ({band(dialogue.emotion)}), {turn}]", "dim")

    def _why(self, dialogue: Dialogue) -> None:
        """Show the terms of the last change, and the levels they rest on."""
        if not dialogue.terms:
            return self._print("Nothing has been said yet.", "dim")
        terms = ", ".join(f"{name} {points:+d}" for name, points in dialogue.terms[-1].items() if points)
        change = dialogue.states[-1].emotion - dialogue.states[-2].emotion
        levels = {k: v for k, v in dialogue.appraisals[-1].levels().items() if v != (2 if k == "form" else 0)}
        read = ", ".join(f"{name} {level}" for name, level in levels.items())
        self._print(f"Change {change:+d}: {terms or 'no terms'}", "dim")
        self._print(f"Read as: {read or 'a plain sentence that does nothing'}", "dim")

    def _over(self, dialogue: Dialogue) -> None:
        last = f"{dialogue.emotion} ({band(dialogue.emotion)})"
        self._print(f"\nThe conversation is over: {dialogue.outcome}. Final emotion: {last}.")

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(safe(text, style))
