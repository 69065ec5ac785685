"""A light reading of Chinese replies: form, copies, and a few phrases of warmth and inquiry."""

from __future__ import annotations

import re
from typing import Final

from empathy_gym.simulators.appraisal import Appraisal
from empathy_gym.simulators.dialogue import PerceptionRequest
from empathy_gym.simulators.embedded.features import MAX_CHARACTERS, load

_SENTENCE: Final = re.compile(r"[^\u3002\uff01\uff1f!?\n]+[\u3002\uff01\uff1f!?]*")


def appraisal(request: PerceptionRequest, form: int, guard: str | None) -> Appraisal:
    """Return an appraisal that knows the form and little more."""
    if form == 0:
        return Appraisal(form=0, guard=guard)
    languages = load("languages.yaml")
    text = request.reply[:MAX_CHARACTERS]
    evidence: dict[str, str] = {}
    for sentence in _SENTENCE.findall(text):
        for field, key in (("warmth", "warm"), ("exploration", "ask")):
            asks = key == "warm" or sentence.rstrip().endswith(("?", "\uff1f"))
            if field not in evidence and asks and re.search(languages[key], sentence):
                evidence[field] = sentence.strip()[:200].strip()
    return Appraisal(
        form=form,
        guard=guard,
        warmth=int("warmth" in evidence),
        exploration=int("exploration" in evidence),
        evidence=evidence,
    )
