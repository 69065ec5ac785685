"""The measured parts of the documents, made afresh: ``python tests/docs/figures.py`` writes them into the files."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from empathy_gym.benchmarks.difficulty import markdown_table, measure
from empathy_gym.benchmarks.labelled import load_replies, second_labels
from empathy_gym.benchmarks.library_stats import library_stats
from empathy_gym.benchmarks.perception import evaluate, mean_kappa, score_field, swaps
from empathy_gym.benchmarks.run import run_bench
from empathy_gym.benchmarks.suites import DEMO
from empathy_gym.benchmarks.transcript import transcript
from empathy_gym.simulators.appraisal import LEVELS
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.library.compiler import load_scenarios
from empathy_gym.simulators.records import EpisodeRecord, read_records

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TRANSCRIPTS = ROOT / "docs" / "transcripts.md"
LIBRARY = ROOT / "docs" / "library.md"
DIFFICULTY = ROOT / "docs" / "difficulty.md"
DIFFICULTIES = re.compile(
    r"(?<=<!-- difficulty table -->\n).*?(?=<!-- end of difficulty table -->)", re.DOTALL
)
DIFFICULTY_LIMIT = 40
"""Scenarios of the table of difficulties; the document names the number."""
FIDELITY = ROOT / "docs" / "fidelity.md"
PERCEPTION = re.compile(r"(?<=<!-- perception -->\n).*?(?=<!-- end of perception -->)", re.DOTALL)
COUNTS = re.compile(r"(?<=<!-- counts -->\n).*?(?=<!-- end of counts -->)", re.DOTALL)
TABLE = re.compile(r"(?<=<!-- demo table -->\n).*?(?=<!-- end of demo table -->)", re.DOTALL)
SHOWN = (
    ("venting", "open"),
    ("others_motives", "blunt"),
    ("fair_fault", "self_doubting"),
    ("deep_empathy", "terse"),
    ("praise", "formal"),
    ("advice", "brisk"),
    ("critical_analysis", "breathless"),
    ("self_reflection", "guarded"),
    ("deep_empathy", "brooding"),
    ("others_motives", "dry"),
)
"""Needs and temperaments of the transcripts; of each, the conversation that went best, on something new."""
INTRODUCTION = """# Ten conversations

`scripted:oracle` with users of all ten temperaments, from the records of `make demo`; the last two are of the split
`heldout-temperament`. Under each reply stands what it did: the emotion before and after (0-100), trust, and the terms of
the rule ([appraisal.md](appraisal.md)). The oracle knows the need and looks ahead on the rule; its sentences were written
with the situations. `empathy-gym transcript runs/demo --policy scripted:oracle` prints the rest.
"""


def run_demo(folder: Path) -> Path:
    """Run the demo into a folder and return it."""
    run_bench(DEMO.config(), folder, quiet=True, as_json=True)
    return folder


def demo_table(folder: Path) -> str:
    """Return the demo's table as Markdown."""
    rows = json.loads((folder / "summary.json").read_text("utf-8"))
    lines = [
        "| policy | final emotion | 95 % interval | success % | failure % | turns |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -row["mean_final_emotion"]):
        low, high = row["ci95"]
        note = " (privileged)" if row["privileged"] else ""
        numbers = (100 * row["success_rate"], 100 * row["failure_rate"], row["mean_turns"])
        shares = " | ".join(f"{number:.1f}" for number in numbers)
        name = f"`{row['policy']}`{note}"
        lines.append(f"| {name} | {row['mean_final_emotion']:.1f} | {low:.1f} - {high:.1f} | {shares} |")
    return "\n".join(lines) + "\n"


def run_held_out(folder: Path) -> Path:
    """Let the oracle talk with the users of the temperaments that are held out, and return the folder."""
    config = {**DEMO.config(), "policies": ("scripted:oracle",), "scenarios": "heldout-temperament"}
    run_bench(config, folder, quiet=True, as_json=True)
    return folder


def conversations(*folders: Path) -> str:
    """Return the document with the transcripts."""
    splits = ("test", "heldout-temperament")
    users = {scenario.id: scenario for split in splits for scenario in load_scenarios(split)}
    lines_read = [r for folder in folders for _, r in read_records(folder / "episodes.jsonl")]
    records = [record for record in lines_read if isinstance(record, EpisodeRecord)]
    stories = {scenario: user.situation.summary for scenario, user in users.items()}
    told: set[str] = set()
    parts = [INTRODUCTION]
    for need, temperament in SHOWN:
        of_kind = [
            record
            for record in records
            if record.policy == "scripted:oracle"
            and users[record.scenario].need == need
            and users[record.scenario].persona.temperament == temperament
        ]
        best = max(of_kind, key=lambda r: (stories[r.scenario] not in told, r.final_emotion, r.scenario))
        told.add(stories[best.scenario])
        user, lines = users[best.scenario], transcript(best)
        title = f"{user.persona.name}, {user.persona.age}: {need.replace('_', ' ')}, {temperament.replace('_', '-')}"
        lines[:2] = [f"## {title}", "", f"{user.situation.summary} Scenario `{best.scenario}`.", ""]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def library_counts() -> str:
    """Return the counts of the bundled users as Markdown."""
    stats = library_stats()

    def listed(name: str) -> str:
        return ", ".join(f"{key.replace('_', ' ')} {count:,}" for key, count in stats[name].items())

    pair, most = max(stats["cramers_v"].items(), key=lambda item: item[1]["corrected"])
    rows = [
        ("situations", f"{stats['situations']} on {len(stats['topics'])} topics: {listed('topics')}"),
        (
            "scenarios",
            f"{stats['scenarios']:,}, of {len(stats['needs'])} needs and {len(stats['temperaments'])} temperaments",
        ),
        ("needs", listed("needs")),
        ("temperaments", listed("temperaments")),
        ("claims of situations", listed("claims")),
        ("claims of scenarios", listed("truths")),
        ("twins", f"{stats['twins']}, of {stats['situations_with_twins']} situations"),
        ("boundaries", listed("boundaries")),
        ("requests for what should be declined", listed("requests")),
        ("lines", f"{listed('lines')} (each counted once)"),
        ("words", listed("words")),
        ("scenarios with a claim voiced early", f"{stats['share_with_live_claims']:.0%}"),
        ("Cramer's V, corrected, at most", f"{most['corrected']:.3f} ({pair})"),
    ]
    splits = [
        f"| `{split}` | {row['situations']} | {row['scenarios']} |" for split, row in stats["splits"].items()
    ]
    lines = ["| what | how many |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join([*lines, "", "| split | situations | scenarios |", "|---|---|---|", *splits, ""])


def write_library_counts() -> None:
    """Write the counts into docs/library.md."""
    LIBRARY.write_text(COUNTS.sub(lambda _: library_counts(), LIBRARY.read_text("utf-8")), "utf-8")


def difficulty_figures() -> str:
    """Return the table of difficulties as Markdown."""
    return markdown_table(measure("test", limit=DIFFICULTY_LIMIT))


def perception_figures() -> str:
    """Return the agreement of the embedded perceiver, and of second labels, with labelled replies as Markdown."""
    replies = load_replies(split="test")
    learned, structure = (evaluate(EmbeddedPerceiver(learned=on), replies) for on in (True, False))
    pairs = second_labels()
    clusters = [reply.situation for reply, _ in pairs]
    lines = [
        "| field | macro-F1 (95 %) | structure alone | majority | accuracy | majority | kappa (95 %) "
        "| second labels, kappa (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one, bare in zip(learned, structure, strict=True):
        first, second = [r.levels[one.field] for r, _ in pairs], [levels[one.field] for _, levels in pairs]
        again = score_field(one.field, first, second, clusters)
        lines.append(
            f"| `{one.field}` | {one.macro_f1:.2f} ({one.low:.2f} - {one.high:.2f}) | {bare.macro_f1:.2f} | "
            f"{one.majority_f1:.2f} | {one.accuracy:.2f} | {one.majority_accuracy:.2f} | "
            f"{one.kappa:.2f} ({one.kappa_low:.2f} - {one.kappa_high:.2f}) | "
            f"{again.kappa:.2f} ({again.kappa_low:.2f} - {again.kappa_high:.2f}) |"
        )
    stance = next(score for score in learned if score.field == "stance")
    levels = LEVELS["stance"]
    lines += [
        "",
        f"Mean kappa {mean_kappa(learned):.2f}, {mean_kappa(structure):.2f} by structure alone; {len(replies)} replies.",
        "",
    ]
    lines += [
        "| `stance` labelled | " + " | ".join(f"read {level:+d}" for level in levels) + " |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {level:+d} | " + " | ".join(map(str, row)) + " |"
        for level, row in zip(levels, stance.confusion, strict=True)
    ]
    lines += ["", f"Clear stances read as their opposite: {swaps(stance):.1%}."]
    return "\n".join(lines) + "\n"


def write_perception_figures() -> None:
    """Write the tables of agreement into docs/fidelity.md."""
    FIDELITY.write_text(PERCEPTION.sub(lambda _: perception_figures(), FIDELITY.read_text("utf-8")), "utf-8")


def write_difficulty_figures() -> None:
    """Write the table into docs/difficulty.md."""
    text = DIFFICULTY.read_text("utf-8")
    DIFFICULTY.write_text(DIFFICULTIES.sub(lambda _: difficulty_figures(), text), "utf-8")


def main() -> None:
    """Write the figures into README and docs."""
    write_library_counts()
    write_perception_figures()
    write_difficulty_figures()
    folder, other = run_demo(Path(sys.argv[1])), run_held_out(Path(sys.argv[1] + "-heldout"))
    README.write_text(TABLE.sub(lambda _: demo_table(folder), README.read_text("utf-8")), "utf-8")
    TRANSCRIPTS.write_text(conversations(folder, other), "utf-8")


if __name__ == "__main__":
    main()
