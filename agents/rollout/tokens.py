"""Conversations as token ids that only grow, and the loss mask that grows with them.

Rendering a conversation afresh at every turn and tokenising it again does not give back the tokens that were
sampled (verl#3720, verl#6719). So the chat template is applied once, to the instruction and the user's first line;
after that the sampled ids stand as they were sampled, and what a template puts between an assistant's turn and the
next one is appended. What that is, is found by rendering two conversations and comparing, and is checked against
the template itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from empathy_gym.simulators.engines.prompting import PromptFormat, one_line
from empathy_gym.simulators.errors import ConfigError, unknown_name

HistoryMode = Literal["exact", "keep", "drop_thinking"]
HISTORY_MODES: Final = ("exact", "keep", "drop_thinking")

_FIRST: Final = "My manager moved the date again."
_REPLY: Final = "That came out of nowhere."
_NEXT: Final = "Nobody asked me at all."
_REPLY_2: Final = "So you heard it last."
_NEXT_2: Final = "I did hear it last."
_THOUGHT: Final = "<think>They sound tired.</think>"


@dataclass(frozen=True, slots=True)
class Segment:
    """One sequence of tokens to train on, all tuples of one length.

    Attributes:
        ids: Token ids.
        mask: 1 where the policy sampled the token, its end token included; 0 elsewhere.
        logprobs: Log-probability of each sampled token under the distribution it was drawn from; 0.0 elsewhere.
        versions: Version of the weights that sampled each token; -1 elsewhere.
    """

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]


@dataclass(slots=True)
class Track:
    """A segment while it is being written."""

    ids: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def given(self, ids: Iterable[int]) -> None:
        """Append tokens that the policy did not choose."""
        self._extend(list(ids), 0, None, -1)

    def sampled(self, ids: Sequence[int], logprobs: Sequence[float], version: int) -> tuple[int, int]:
        """Append tokens that the policy sampled.

        Returns:
            Where they begin and end.
        """
        if len(ids) != len(logprobs):
            raise ValueError(f"{len(ids)} sampled tokens with {len(logprobs)} log-probabilities")
        start = len(self.ids)
        self._extend(list(ids), 1, logprobs, version)
        return start, len(self.ids)

    def _extend(self, ids: list[int], mask: int, logprobs: Sequence[float] | None, version: int) -> None:
        self.ids += ids
        self.mask += [mask] * len(ids)
        self.logprobs += [0.0] * len(ids) if logprobs is None else list(logprobs)
        self.versions += [version] * len(ids)

    def segment(self) -> Segment:
        """Return the segment as it stands."""
        return Segment(tuple(self.ids), tuple(self.mask), tuple(self.logprobs), tuple(self.versions))


class ChatFormat:
    """How a model's chat template writes a conversation, in token ids.

    History modes:

    * ``"exact"``: the ids grow, and the template has to agree: rendered afresh, the conversation is the same text and
      the same tokens. With thinking, earlier thoughts have to stay.
    * ``"keep"``: the ids grow, whatever the template would do to earlier turns: thoughts stay in the history.
    * ``"drop_thinking"``: the template is applied anew at every turn to what was heard; every turn is then a segment
      of its own, as its prompt is no beginning of the next one's.

    Args:
        tokenizer: A Hugging Face tokenizer.
        history_mode: See above.
        think: Whether the policy thinks before it speaks.
        template_kwargs: Passed to the template, e.g. ``{"enable_thinking": False}``.
        ends: Further ids that end a generation.

    Attributes:
        end: Id of the token that ends an assistant's turn.
        ends: Every id that ends a generation.
        rewrites: What the template does to earlier turns that appending does not, or None.

    Raises:
        ConfigError: If there is no chat template, or the history mode does not go with it.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        history_mode: HistoryMode = "exact",
        think: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
        ends: Iterable[int] = (),
    ) -> None:
        if history_mode not in HISTORY_MODES:
            raise unknown_name("history_mode", history_mode, HISTORY_MODES)
        self.tokenizer = tokenizer
        self.history_mode = history_mode
        self._prompt = PromptFormat(tokenizer, template_kwargs)
        if not self._prompt.has_template:
            raise ConfigError(
                "The model's tokenizer has no chat template, so there is no telling where a turn ends. Take an "
                "instruction-tuned model, or add a chat_template to its tokenizer."
            )
        self._special = frozenset(map(int, tokenizer.all_special_ids)) | frozenset(
            int(i)
            for i, token in (getattr(tokenizer, "added_tokens_decoder", None) or {}).items()
            if token.special
        )
        self.end, self._between, self._tail = self._found()
        self.ends = frozenset({self.end, *map(int, ends)})
        self.rewrites = self._rewrites(think)
        if history_mode == "exact" and self.rewrites is not None:
            raise ConfigError(
                f"The model's chat template {self.rewrites}, so history_mode 'exact' is not possible. Set "
                "history_mode to 'drop_thinking' (as the template does, a sequence a turn) or 'keep' (thoughts and "
                "turns stay as they were sampled)."
            )

    # -- writing -------------------------------------------------------------------------------------------------

    def opening(self, instruction: str, line: str) -> list[int]:
        """Return the prompt of the first turn: instruction, the user's first line, the head of the reply."""
        return self.render([*_system(instruction), {"role": "user", "content": line}])

    def render(self, messages: Sequence[Mapping[str, str] | Any]) -> list[int]:
        """Return the prompt that the template makes of a whole conversation."""
        return self._prompt.ids(messages)

    def suffix(self, line: str, last: int) -> list[int]:
        """Return what follows a sampled reply: the rest of its turn, the user's next line, the next reply's head.

        Args:
            line: What the user said.
            last: Last sampled id; where the reply was cut off, its end comes first, unsampled.
        """
        clean = self._prompt.clean({"role": "user", "content": line})["content"]
        return [*([] if last == self.end else [self.end]), *self.encode(self._between + clean + self._tail)]

    def text(self, ids: Sequence[int]) -> str:
        """Return what sampled ids say, without the token that ends them. Control tokens within are shown."""
        kept = ids[:-1] if ids and ids[-1] in self.ends else ids
        return str(self.tokenizer.decode(list(kept), skip_special_tokens=False))

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a piece of text, nothing added."""
        return [int(i) for i in self.tokenizer(text, add_special_tokens=False).input_ids]

    # -- finding -------------------------------------------------------------------------------------------------

    def _found(self) -> tuple[int, str, str]:
        """Return the end token, what stands between it and the user's line, and what follows that line."""
        text = self._rendered([_FIRST, _REPLY, _NEXT])
        _, reply, rest = text.partition(_REPLY)
        middle, line, tail = rest.partition(_NEXT)
        ids = self.encode(middle)
        end = next((i for i in ids if i in self._special), None)
        if not reply or not line or end is None:
            raise ConfigError(
                "The model's chat template does not end an assistant's turn with a token of its own; this trainer "
                "cannot tell its turns apart. Take a model whose template does (ChatML, Llama 3, Gemma and others do)."
            )
        return end, middle.partition(str(self.tokenizer.convert_ids_to_tokens(end)))[2], tail

    def _rewrites(self, think: bool) -> str | None:
        """Return what the template does to earlier turns that appending does not, or None."""
        for thought in ("", _THOUGHT) if think else ("",):
            replies = (thought + _REPLY, thought + _REPLY_2)
            said = [_FIRST, replies[0], _NEXT, replies[1], _NEXT_2]
            whole = self._rendered(said)
            if thought and whole.count(thought) < len(replies):
                return "drops earlier thoughts"
            if any(line not in whole for line in said):
                return "rewrites earlier turns"
            grown = self._grown(said)
            if self.tokenizer.decode(grown) != self.tokenizer.decode(self.encode(whole)):
                return "writes earlier turns in another way than the latest one"
            if grown != self.encode(whole):
                return "cannot be continued token by token (its tokens run across the ends of turns)"
        return None

    def _grown(self, said: Sequence[str]) -> list[int]:
        ids = self.encode(self._rendered(said[:1]))
        for reply, line in zip(said[1::2], said[2::2], strict=True):
            ids += [*self.encode(reply), self.end, *self.suffix(line, self.end)]
        return ids

    def _rendered(self, said: Sequence[str]) -> str:
        messages = [
            {"role": "assistant" if i % 2 else "user", "content": content} for i, content in enumerate(said)
        ]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=False, **self._prompt.template_kwargs
                )
            )
        except Exception as error:
            # Templates raise what they like.
            raise ConfigError(f"The model's chat template cannot be used: {one_line(error)}") from error


def _system(instruction: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": instruction}] if instruction else []
