"""The table of blind responses in docs/responses.md is what the bench finds; ``python FILE`` writes it afresh."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from empathy_gym.benchmarks.response_bench import ResponseBench, ResponseBenchConfig
from empathy_gym.benchmarks.response_summary import ResponseRow
from empathy_gym.rewards.structure import guarded
from empathy_gym.simulators.exchanges.loading import bundled

RESPONSES = Path(__file__).resolve().parents[2] / "docs" / "responses.md"
TABLE = re.compile(r"(?<=<!-- blind responses -->\n).*?(?=<!-- end of blind responses -->)", re.DOTALL)
POLICIES = tuple(
    f"scripted:{name}"
    for name in (
        "gibberish", "empty", "injection", "agreement", "advice_list", "echo", "shuffled", "listener", "template",
        "one_line", "questions", "stuffing",
    )
)  # fmt: skip


def rows(folder: Path, guard: bool) -> dict[str, ResponseRow]:
    found = ResponseBench(ResponseBenchConfig(policies=POLICIES, guard=guard)).run(folder)
    return {row.policy: row for row in found}


def table(folder: Path) -> str:
    bare, safe = rows(folder / "bare", False), rows(folder / "guarded", True)
    lines = [
        "| response | reward | with `guard` | moved | F1 | words | Dist-2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for policy, row in bare.items():
        low, high = row.reward_ci95
        moved = "" if row.moved_reward is None else f"{row.moved_reward:.3f}"
        name = policy if row.privileged else f"`{policy}`"
        lines.append(
            f"| {name} | {row.reward:.3f} ({low:.3f} - {high:.3f}) | {safe[policy].reward:.3f} | {moved} "
            f"| {100 * row.empathy_f1['mean']:.1f} | {row.words:.1f} | {100 * row.distinct_2:.1f} |"
        )
    return "\n".join(lines) + "\n"


def test_the_table_of_blind_responses_is_what_the_bench_finds(tmp_path: Path) -> None:
    assert TABLE.findall(RESPONSES.read_text("utf-8")) == [table(tmp_path)]


def test_the_guard_refuses_as_many_references_as_the_document_says() -> None:
    refused = guarded([x.text for x in bundled()], [x.response for x in bundled()])
    assert f"It refuses {sum(no for no, _ in refused)} of the 448 references" in RESPONSES.read_text("utf-8")


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        made = table(Path(scratch))
    RESPONSES.write_text(TABLE.sub(lambda _: made, RESPONSES.read_text("utf-8")), "utf-8")
