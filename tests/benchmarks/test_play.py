"""Being the policy in a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from empathy_gym.benchmarks import crisis
from empathy_gym.benchmarks.play import Game, notice, sounds_like_crisis
from empathy_gym.envs.setting import ChatSetting


def played(*lines, show_emotion=True, raises=EOFError, seed=3, **kwargs):
    """Play with these lines typed, and return what was printed."""
    typed = iter(lines)

    def read():
        for line in typed:
            return line
        raise raises

    setting = ChatSetting.make(kwargs)
    printed = io.StringIO()
    Game(setting, Console(file=printed, width=400), read, show_emotion=show_emotion).play(
        setting.scenarios[0], seed
    )
    return printed.getvalue()


def test_the_user_opens_and_answers_and_the_emotion_is_shown():
    text = played("I see. What did you do then?")
    name = ChatSetting.make({}).scenarios[0].persona.name
    assert text.count(f"{name}: ") == 2 and "emotion 40 (B), turn 0/8" in text and "turn 1/8" in text


def test_the_emotion_is_hidden_on_request():
    assert "emotion" not in played("I see.", "/quit", show_emotion=False)


def test_why_names_the_terms_of_the_last_change():
    text = played("/why", "Hm.", "/why", "/quit")
    assert "Nothing has been said yet" in text and "Change -" in text and "patience -2" in text


def test_the_need_is_never_shown():
    scenario = ChatSetting.make({}).scenarios[0]
    text = played("Hm.", "/why", "/help", "/quit")
    assert scenario.need not in text and scenario.id not in text


@pytest.mark.parametrize("raises", [EOFError, KeyboardInterrupt])
def test_the_end_of_input_and_ctrl_c_end_it_cleanly(raises):
    assert "Goodbye." in played("Hm.", raises=raises)


def test_unknown_commands_and_empty_lines_are_no_replies():
    assert "turn 1/" not in played("", "   ", "/qiut")


def test_the_conversation_ends_and_says_how():
    text = played(*["You should just get over it."] * 20)
    assert "The conversation is over: failure" in text and "Final emotion" in text


def test_markup_and_control_characters_that_are_typed_do_nothing():
    text = played("[bold]loud[/bold] \x1b[2J [/]", "/quit")
    assert "\x1b[2J" not in text


@pytest.mark.parametrize(
    "words",
    ["I want to kill myself", "i just want to die", "I don\u2019t want to live anymore",
     "thinking about suicide", "I have been cutting myself",
     "they'd be better off without me", "I can't go on living"],
)  # fmt: skip
def test_crisis_words_stop_the_game_with_the_notice(words):
    assert sounds_like_crisis(words)
    text = played("Hm.", words, "never read")
    assert notice().splitlines()[0] in text and "not a counsellor" in text
    assert text.rstrip().endswith("stored.")


def test_crisis_words_are_told_from_idioms_on_lines_that_somebody_else_wrote():
    found = {count.what: count for count in crisis.counts()}
    assert found["crisis"].lines >= 70 and len(found["crisis"].taken) >= 0.95 * found["crisis"].lines
    assert found["harmless"].lines >= 110 and len(found["harmless"].taken) <= 0.02 * found["harmless"].lines
    # What users say is no crisis, and what is said to them is about theirs.
    for what in ("the users' sentences", "labelled replies"):
        assert found[what].lines > 1000 and found[what].taken == ()
    assert str(found["crisis"]).startswith("crisis: ")


@pytest.mark.parametrize(
    "words",
    ["That joke is killing me", "I'm dying to know what she said", "you must have died of embarrassment",
     "that would be career suicide", "I cut myself shaving once, same face", "kill two birds with one stone"],
)  # fmt: skip
def test_idioms_do_not_stop_the_game(words):
    assert not sounds_like_crisis(words)
