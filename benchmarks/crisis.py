"""How well a person's crisis words are told from idioms: ``python -m empathy_gym.benchmarks.crisis``.

`empathy-gym play` stops on such words. What is missed and what is a false alarm is counted on lines written for this
(``benchmarks/data/crisis_lines.yaml``), and on the users' own lines and the labelled replies, none of which is a crisis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from empathy_gym.benchmarks.console import print_lines
from empathy_gym.benchmarks.findings import wilson_interval
from empathy_gym.benchmarks.labelled import load_replies
from empathy_gym.benchmarks.play import sounds_like_crisis
from empathy_gym.simulators.library.compiler import PARTS, load_scenarios
from empathy_gym.simulators.packaged import read_mapping


@dataclass(frozen=True, slots=True)
class Count:
    """How many of some lines are taken for a crisis.

    Attributes:
        what: What lines they are.
        lines: How many.
        taken: Those that are.
    """

    what: str
    lines: int
    taken: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as one line, with Wilson's 95 % interval."""
        low, high = wilson_interval(len(self.taken), self.lines)
        share = f"{len(self.taken) / self.lines:.1%} ({low:.1%} - {high:.1%})"
        return f"{self.what}: {len(self.taken):,} of {self.lines:,} are taken for a crisis, {share}"


def written() -> dict[str, list[str]]:
    """Return the written lines, by what they are."""
    return dict(read_mapping("empathy_gym.benchmarks", "data/crisis_lines.yaml"))


def counted(what: str, lines: Sequence[str]) -> Count:
    """Return how many of some lines are taken for a crisis."""
    return Count(what, len(lines), tuple(line for line in lines if sounds_like_crisis(line)))


def counts() -> list[Count]:
    """Return the counts of every set of lines."""
    bundled = [scenario.situation for split in PARTS for scenario in load_scenarios(split)]
    users = sorted({line for situation in bundled for item in situation.items() for line in item.say})
    replies = sorted({reply.request.reply for reply in load_replies()})
    sets = {**written(), "the users' sentences": users, "labelled replies": replies}
    return [counted(what, lines) for what, lines in sets.items()]


if __name__ == "__main__":
    print_lines(counts())
