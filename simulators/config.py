"""Which user answers: declarative configuration, and the one place where users are built.

Environments are made from names and plain values only, so that their specs can be copied, saved and compared.
`build_user` turns a name and a `SimulatorConfig` into a `User` and keeps it for the whole process: two
environments with the same configuration share one user, which is safe because users have no state.

A plug-in is named as ``"module:attr"``; naming one imports that module, that is, runs its code.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from empathy_gym.simulators.dialogue import BeginRequest, Determinism, Dialogue, ScoredBy
from empathy_gym.simulators.errors import ConfigError, did_you_mean, unknown_name
from empathy_gym.simulators.rule import TableRule, load_tables
from empathy_gym.simulators.user import Perceiver, Rule, Speaker, User, part_fingerprint

SIMULATORS: Final = ("embedded", "llm", "module:attr")
GRADES: Final[tuple[str, ...]] = get_args(Determinism)
"""Grades of repeatability, best first."""


FETCHING: Final = frozenset(
    "engine engine_options tape tape_mode api_key_env revision timeout_s total_timeout_s retries "
    "max_concurrency".split()
)
"""Fields of a configuration that say where answers come from, and are no part of what a run is."""


class SimulatorConfig(BaseModel):
    """How a simulated user is run. Plain values only: no secrets (keys come from environment variables)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str | None = None
    """Chat engine: ``"openai:MODEL@URL[,URL2]"``, ``"vllm:PATH"``, ``"hf:PATH"`` or ``"scripted:NAME"``."""
    perceiver: Literal["embedded", "rubric", "direct"] | None = None
    """Who reads replies: statistics, a model with a rubric, or a model that names the change itself (SAGE's
    protocol, never ranked). None is ``rubric`` for a language-model user, ``embedded`` otherwise."""
    speaker: Literal["written", "roleplay"] | None = None
    """Who says the user's lines: the scenario's authors, or a model. None is ``roleplay`` for a
    language-model user, ``written`` otherwise."""
    answer: Literal["json", "compact"] | None = None
    """Form in which a rubric model answers: ``json`` (also None) with quotations, ``compact`` for
    small models."""
    repairs: Annotated[int, Field(ge=0, le=5)] = 2
    """Most re-asks of an answer or a line that cannot be used."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] = 0.7
    """Sampling temperature of the speaker; perceivers always run at 0."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Sampling seed of the speaker, mixed with each line's own."""
    fallback: Literal["embedded"] | None = None
    """Who reads a reply where the rubric's model fails; None makes it a fault. A user with a fallback is
    marked (`scored_by="custom"`) and never ranked."""
    tape: str | None = None
    """File on which the engine's answers are kept."""
    tape_mode: Literal["record", "replay", "auto"] | None = None
    """``auto`` (also None) replays what the tape holds and records the rest; ``replay`` needs no model."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    """Name of the environment variable that holds the key of an OpenAI-compatible server. Never the key."""
    revision: str | None = None
    """Revision of the model, where the engine cannot know it (a server does not tell)."""
    timeout_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 30.0
    """Seconds after which an answer counts as a fault of the simulator."""
    total_timeout_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Seconds that a whole batch may take; None for what the engine makes of `timeout_s`."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Further attempts after a lost connection or a server's error."""
    max_concurrency: Annotated[int, Field(ge=1)] = 64
    """Requests in flight at once."""
    engine_options: dict[str, Any] = Field(default_factory=dict)
    """More arguments of the engine's class, plain values: ``{"max_model_len": 4096}`` for ``vllm:``."""

    def essence(self) -> dict[str, Any]:
        """Return the fields that results follow from, as plain values: not how answers are fetched or kept.

        Which model answers is in the user's fingerprint, so that a replay has the essence of what it repeats.
        """
        return self.model_dump(mode="json", exclude=set(FETCHING), exclude_defaults=True)

    @classmethod
    def load(
        cls, value: SimulatorConfig | Mapping[str, Any] | str | os.PathLike[str] | None
    ) -> SimulatorConfig:
        """Return a configuration.

        Args:
            value: An instance, a mapping, the path of a YAML file, a mapping as text (``"{engine: ...}"``),
                or None (the default).

        Raises:
            ConfigError: If the file cannot be read, or a field is unknown or has a wrong value.
        """
        if isinstance(value, cls):
            return value
        if value is None:
            return cls()
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _parse_yaml(value, "a mapping")
        elif isinstance(value, str | os.PathLike):
            value = _read_yaml(Path(value))
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"simulator_config is a {type(value).__name__}; it must be a mapping, the path of a YAML "
                "file or a SimulatorConfig."
            )
        for key in value:
            if key not in cls.model_fields:
                raise unknown_name("field of simulator_config", key, cls.model_fields)
        try:
            return cls.model_validate(dict(value))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            # Somebody may have put the key itself where its variable's name belongs: not shown, not chained.
            shown = (
                "not a name of an environment variable" if field == "api_key_env" else repr(first["input"])
            )
            raise ConfigError(f"simulator_config.{field} is {shown}: {first['msg']}.") from None


def recorded_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return an environment's keyword arguments as they are recorded: of the configuration, its essence."""
    config = kwargs.get("simulator_config")
    if config is None:
        return dict(kwargs)
    return {**kwargs, "simulator_config": SimulatorConfig.load(config).essence()}


def _read_yaml(path: Path) -> Any:
    try:
        return _parse_yaml(path.read_text("utf-8"), "a YAML file that can be read", str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"simulator_config {str(path)!r} is not a YAML file that can be read: {error}"
        ) from error


def _parse_yaml(text: str, what: str, name: str | None = None) -> Any:
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"simulator_config {name or text!r:.200} is not {what}: {error}") from error


class ForeignUser(User):
    """A whole user from somewhere else, marked so that its numbers are never taken for the packaged rule's.

    Args:
        inner: Anything with `begin` and `respond`.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        declared = getattr(inner, "scored_by", None)
        self.scored_by: ScoredBy = "model" if declared == "model" else "custom"
        self.determinism: Determinism = declared_determinism(inner)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The inner user's fingerprint, or its kind."""
        return part_fingerprint(self.inner)

    def begin(self, requests: Sequence[BeginRequest]) -> list[Dialogue]:
        """Start dialogues with the inner user."""
        return self._marked(self.inner.begin(requests), len(requests))

    def respond(self, dialogues: Sequence[Dialogue], replies: Sequence[str]) -> list[Dialogue]:
        """Take one reply in each dialogue with the inner user."""
        return self._marked(self.inner.respond(dialogues, replies), len(dialogues))

    def _marked(self, dialogues: Iterable[Any], expected: int) -> list[Dialogue]:
        results = list(dialogues)
        if len(results) != expected or not all(isinstance(d, Dialogue) for d in results):
            raise ConfigError(
                f"{type(self.inner).__name__} must return {expected} dialogues, one for each request; it "
                "returned "
                f"{[type(d).__name__ for d in results[:4]]} ({len(results)} in all)."
            )
        return [marked(dialogue, self) for dialogue in results]


def marked(dialogue: Dialogue, user: User) -> Dialogue:
    """Return a dialogue that this user goes on with: marked as the less trustworthy of the two.

    A conversation scored once by somebody else's rule stays ``"custom"`` whoever continues it, and the other
    way round; the grade of determinism is the weaker one.
    """
    scored_by = user.scored_by if dialogue.scored_by == "rule" else dialogue.scored_by
    determinism = weakest((dialogue.determinism, user.determinism))
    if (scored_by, determinism) == (dialogue.scored_by, dialogue.determinism):
        return dialogue
    return dataclasses.replace(dialogue, scored_by=scored_by, determinism=determinism)


def weakest(grades: Iterable[Determinism]) -> Determinism:
    """Return the weakest of some grades of determinism; ``"exact"`` if there is none."""
    return max(grades, key=GRADES.index, default="exact")


def declared_determinism(part: object) -> Determinism:
    """Return what a plug-in declares in its attribute `determinism`; ``"rule-only"`` without one.

    Raises:
        ConfigError: If it is not one of the three grades.
    """
    grade: Any = getattr(part, "determinism", "rule-only")
    if grade not in GRADES:
        raise unknown_name(f"determinism of {type(part).__name__}", grade, GRADES)
    return grade  # type: ignore[no-any-return]


def import_attr(spec: str, kind: str) -> Any:
    """Import what ``"module:attr"`` names; `attr` may be dotted.

    Raises:
        ConfigError: If the module cannot be imported or has no such attribute.
    """
    module_name, _, path = spec.partition(":")
    if not module_name or not path:
        raise ConfigError(f"The {kind} {spec!r} is not of the form 'module:attr'.")
    try:
        found: Any = importlib.import_module(module_name)
    except (ImportError, TypeError) as error:
        raise ConfigError(f"The {kind} {spec!r} cannot be imported: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise ConfigError(
                f"The {kind} {spec!r} does not exist: {module_name!r} has no {name!r}."
                f"{did_you_mean(name, dir(found))}"
            )
        found = getattr(found, name)
    return found


def instance_of(spec: str, kind: str, methods: Sequence[str]) -> Any:
    """Return the instance that ``"module:attr"`` names, itself or by a zero-argument factory.

    Args:
        spec: The name.
        kind: What it stands for, for messages.
        methods: An instance has at least one of these attributes.

    Raises:
        ConfigError: If it cannot be imported, the factory needs arguments, or the instance has none of
            `methods`.
    """
    found = import_attr(spec, kind)
    if isinstance(found, type) or (callable(found) and not _has_any(found, methods)):
        try:
            found = found()
        except TypeError as error:
            raise ConfigError(f"The {kind} {spec!r} cannot be called without arguments: {error}") from error
    if not _has_any(found, methods):
        raise ConfigError(
            f"The {kind} {spec!r} is a {type(found).__name__}; it needs {' or '.join(map(repr, methods))}."
        )
    return found


def _has_any(value: object, names: Sequence[str]) -> bool:
    return any(hasattr(value, name) for name in names)


_ONLY_LLM: Final[dict[str, Any]] = {
    "engine": None,
    "engine_options": {},
    "perceiver": "embedded",
    "speaker": "written",
    "answer": None,
    "fallback": None,
    "tape": None,
    "tape_mode": None,
    "api_key_env": None,
    "revision": None,
}
"""Fields that only a language-model user reads, and the value that is true of the others anyway."""

_users: dict[tuple[str, str], User] = {}
_lock = threading.RLock()


def build_user(
    simulator: str = "embedded",
    config: SimulatorConfig | Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> User:
    """Return the user of a name and a configuration, built once per process.

    Args:
        simulator: ``"embedded"``; ``"llm"``, whose engine and parts the configuration names; or
            ``"module:attr"``: an instance or a zero-argument factory of a whole
            user (anything with `begin` and `respond`), or of a perceiver, rule or speaker that replaces that
            part of the embedded user.
        config: What `SimulatorConfig.load` takes.

    Raises:
        ConfigError: If the name is unknown or the configuration does not fit it.
    """
    if not isinstance(simulator, str):
        raise ConfigError(
            f"simulator is a {type(simulator).__name__}; it must be a name. A live object is named as "
            "'module:attr'."
        )
    loaded = SimulatorConfig.load(config)
    key = (simulator, loaded.model_dump_json())
    with _lock:
        if key not in _users:
            _users[key] = _build(simulator, loaded)
        return _users[key]


def _build(simulator: str, config: SimulatorConfig) -> User:
    if simulator == "llm":
        from empathy_gym.simulators.llm.compose import llm_user

        return llm_user(config)
    if simulator != "embedded" and ":" not in simulator:
        raise unknown_name("simulator", simulator, SIMULATORS)
    for field, packaged in _ONLY_LLM.items():
        if getattr(config, field) not in (None, packaged):
            raise ConfigError(
                f"simulator_config.{field} is {getattr(config, field)!r}, which only a language-model user "
                f"reads; simulator={simulator!r} would ignore it. Leave it out, or use simulator='llm'."
            )
    if simulator == "embedded":
        perceiver, rule, speaker = _packaged_types()
        return _composed(perceiver(), rule(), speaker())
    return _plugged_in(instance_of(simulator, "simulator", ("respond", "perceive", "apply", "speak")))


def _packaged_types() -> tuple[type[Perceiver], type[Rule], type[Speaker]]:
    """Return the three parts of the embedded user, imported where they are first used."""
    from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
    from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker

    return EmbeddedPerceiver, TableRule, AuthoredSpeaker


def _plugged_in(part: Any) -> User:
    """Return the user that a plug-in makes: a whole one, or the embedded one with parts replaced."""
    if type(part) is User:
        return _composed(part.perceiver, part.rule, part.speaker, of=part)
    if isinstance(part, Perceiver | Rule | Speaker) and not hasattr(part, "respond"):
        perceiver, rule, speaker = _packaged_types()
        return _composed(
            part if isinstance(part, Perceiver) else perceiver(),
            part if isinstance(part, Rule) else rule(),
            part if isinstance(part, Speaker) else speaker(),
        )
    if not hasattr(part, "begin"):
        raise ConfigError(f"{type(part).__name__} has 'respond' but no 'begin'; a whole user needs both.")
    return ForeignUser(part)


def _composed(perceiver: Perceiver, rule: Rule, speaker: Speaker, of: User | None = None) -> User:
    """Compose a user and work out what it may claim.

    ``"rule"`` is claimed only where a packaged perceiver reads and a packaged table decides; who speaks does
    not matter for the number.
    """
    packaged = [type(part) in _packaged_types() for part in (perceiver, rule, speaker)]
    scored_by: ScoredBy = "rule" if packaged[0] and _is_packaged_rule(rule) else "custom"
    if of is not None and of.scored_by != "rule":
        scored_by = of.scored_by
    foreign = [p for p, known in zip((perceiver, rule, speaker), packaged, strict=True) if not known]
    grades: list[Determinism] = [declared_determinism(part) for part in foreign]
    if of is not None:
        grades.append(of.determinism)
    return User(perceiver, rule, speaker, scored_by=scored_by, determinism=weakest(grades))


def _is_packaged_rule(rule: Rule) -> bool:
    return type(rule) is TableRule and any(rule.hash == TableRule(table).hash for table in load_tables())
