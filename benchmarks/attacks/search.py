"""A search for replies that score without understanding: evolution over bags of sentences that fit anybody.

A genome is a list of genes for each turn; a gene is an opener, a sentence of the bank or a slot phrase. It is a
policy: it says its bag for the turn, whatever the user said (context-free), or with slots filled from what the
user said (slot grammar). Genomes are bred on `train` and scored on `test`. Draws follow from the seed alone.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from empathy_gym.agents.policies.blind import user_lines
from empathy_gym.benchmarks.attacks.play import conversation, play, starts
from empathy_gym.benchmarks.attacks.policies import filled, lines, slots
from empathy_gym.simulators.dialogue import Dialogue, derive_seed
from empathy_gym.simulators.packaged import read_mapping, read_yaml
from empathy_gym.simulators.scenario import Scenario
from empathy_gym.simulators.user import User

Gene = str
Genome = tuple[tuple[Gene, ...], ...]
"""Genes of each turn. A gene is the phrase itself; slots in braces are filled when it is said."""
POPULATION: Final = 64
KEPT: Final = 16
PEOPLE: Final = 24
"""Users against whom a genome is scored in a generation; others in each."""
LONGEST: Final = 4
TURNS: Final = 8


def bank() -> Mapping[str, Any]:
    """Return the sentences, and the phrases with slots."""
    return read_mapping("empathy_gym.benchmarks.attacks", "bank.yaml")


@functools.cache
def committed() -> tuple[Genome, ...]:
    """Return the genomes that earlier searches have found."""
    found = read_yaml("empathy_gym.benchmarks.attacks", "found.yaml") or []
    return tuple(tuple(tuple(turn) for turn in genome) for genome in found)


def genes(slotted: bool) -> list[Gene]:
    """Return the genes of a search; those with slots only where it may read what the user said."""
    found = [*bank()["sentences"], *lines()["openers"]]
    for name in ("therapy_speak", "barnum", "self_disclosure", "both_sides_blanket"):
        found += lines()[name]
    if slotted:
        found += [
            *bank()["slots"],
            *lines()["slot_template"],
            *lines()["quote_frames"],
            *lines()["noun_questions"],
        ]
    return found


@dataclass(frozen=True, slots=True)
class Bred:
    """A genome with what it was worth.

    Attributes:
        genome: The genome.
        fitness: Mean final emotion against the users of its generation.
    """

    genome: Genome
    fitness: float


def said(genome: Genome, dialogue: Dialogue) -> str:
    """Return what a genome says now."""
    genes_now = genome[min(dialogue.turn, len(genome) - 1)]
    if not any("{" in gene for gene in genes_now):
        return " ".join(genes_now)
    now = conversation(dialogue)
    values = slots(now, user_lines(now))
    return " ".join(filled(gene, values) if "{" in gene else gene for gene in genes_now)


def scores(
    user: User, genomes: Sequence[Genome], scenarios: Sequence[Scenario], difficulty: str, seed: int
) -> list[list[Dialogue]]:
    """Play every genome against every scenario; return the dialogues by genome."""
    requests = starts(scenarios, difficulty, TURNS, seed)
    return [
        play(user, requests, lambda dialogues, genome=genome: [said(genome, d) for d in dialogues])  # type: ignore[misc]
        for genome in genomes
    ]


def mean_emotion(dialogues: Sequence[Dialogue]) -> float:
    """Return the mean final emotion."""
    return sum(d.state.emotion for d in dialogues) / len(dialogues)


def evolve(
    user: User,
    scenarios: Sequence[Scenario],
    *,
    slotted: bool,
    evaluations: int,
    difficulty: str = "normal",
    seed: int = 0,
    best: int = 20,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Bred]:
    """Breed genomes.

    Args:
        user: Who answers.
        scenarios: Users to breed against.
        slotted: Whether phrases with slots may be used.
        evaluations: Episodes to play in all.
        difficulty: Difficulty.
        seed: Seed of every draw.
        best: How many to return.
        progress: Called with the number of episodes played so far.

    Returns:
        The best genomes ever met, best first, no two alike.
    """
    rng = random.Random(derive_seed(seed, "evolution", slotted))
    pool = genes(slotted)
    population = [_random(rng, pool) for _ in range(POPULATION)]
    fame: dict[Genome, float] = {}
    done = generation = 0
    while done < evaluations:
        people = rng.sample(list(scenarios), min(PEOPLE, len(scenarios)))
        played = scores(user, population, people, difficulty, derive_seed(seed, generation))
        ranked = sorted(
            (Bred(g, mean_emotion(d)) for g, d in zip(population, played, strict=True)),
            key=lambda bred: (-bred.fitness, bred.genome),
        )
        for bred in ranked[:KEPT]:
            # The mean of what it was worth each time, the newest half: luck does not stay.
            fame[bred.genome] = (fame.get(bred.genome, bred.fitness) + bred.fitness) / 2
        parents = [bred.genome for bred in ranked[:KEPT]]
        known = sorted(fame, key=lambda genome: (-fame[genome], genome))[:KEPT]
        population = [
            *known,
            *(_child(rng, pool, [*parents, *known]) for _ in range(POPULATION - len(known))),
        ]
        done += len(people) * len(ranked)
        generation += 1
        progress(min(done, evaluations))
    winners = sorted(fame, key=lambda genome: (-fame[genome], genome))[:best]
    return [Bred(genome, fame[genome]) for genome in winners]


def _random(rng: random.Random, pool: Sequence[Gene]) -> Genome:
    return tuple(tuple(rng.choice(pool) for _ in range(rng.randint(1, LONGEST))) for _ in range(TURNS))


def _child(rng: random.Random, pool: Sequence[Gene], parents: Sequence[Genome]) -> Genome:
    """Return turns of two parents, with some genes exchanged, put in, left out or moved."""
    mother, father = rng.choice(parents), rng.choice(parents)
    turns = [list(rng.choice(pair)) for pair in zip(mother, father, strict=True)]
    for _ in range(rng.randint(1, 3)):
        turn = rng.choice(turns)
        kind = rng.randrange(4)
        if kind == 0 and len(turn) < LONGEST:
            turn.insert(rng.randint(0, len(turn)), rng.choice(pool))
        elif kind == 1 and len(turn) > 1:
            turn.pop(rng.randrange(len(turn)))
        elif kind == 2:
            a, b = rng.randrange(TURNS), rng.randrange(TURNS)
            turns[a], turns[b] = turns[b], turns[a]
        else:
            turn[rng.randrange(len(turn))] = rng.choice(pool)
    return tuple(tuple(turn) for turn in turns)


# -- best of many ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """A reply that scored, for a person to read.

    Attributes:
        change: Points of emotion.
        line: The user's line before it.
        reply: The reply.
    """

    change: int
    line: str
    reply: str


def best_of(
    user: User, scenarios: Sequence[Scenario], *, samples: int = 64, difficulty: str = "normal", seed: int = 0
) -> tuple[list[Dialogue], list[Found]]:
    """At each turn hear `samples` random bags with slots and go on with the one that paid most.

    It peeks at the reward, as reinforcement learning would by trying; so what it reaches is what exploration can
    find without understanding.

    Returns:
        The dialogues at their end, and the replies gone on with, best first.
    """
    pool = genes(True)
    dialogues = user.begin(starts(scenarios, difficulty, TURNS, seed))
    found: list[Found] = []
    for place in range(len(dialogues)):
        while not dialogues[place].ended:
            now = dialogues[place]
            rng = random.Random(derive_seed(now.seed, "best of", now.turn))
            bags = [_random(rng, pool)[0] for _ in range(samples)]
            replies = [said((bag,), now) for bag in bags]
            after = user.respond([now] * samples, replies)
            chosen = max(range(samples), key=lambda i: (after[i].state.emotion, -i))
            change = after[chosen].state.emotion - now.state.emotion
            found.append(Found(change, now.messages[-1]["content"], replies[chosen]))
            dialogues[place] = after[chosen]
    found.sort(key=lambda f: (-f.change, f.reply))
    return dialogues, found
