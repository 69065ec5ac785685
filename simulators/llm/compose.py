"""The language-model user of a configuration: engine, tape, counting, and the parts that ask them."""

from __future__ import annotations

from typing import Any, Final

from empathy_gym.simulators.config import SimulatorConfig
from empathy_gym.simulators.dialogue import Determinism, ScoredBy
from empathy_gym.simulators.embedded.perceiver import EmbeddedPerceiver
from empathy_gym.simulators.embedded.speaker import AuthoredSpeaker
from empathy_gym.simulators.engines import ChatEngine, Counted, Ledger, Tape, engine_from, engine_options
from empathy_gym.simulators.engines.registry import parse_spec
from empathy_gym.simulators.errors import ConfigError
from empathy_gym.simulators.llm.direct import DirectJudge, DirectUser
from empathy_gym.simulators.llm.perceiver import RubricPerceiver
from empathy_gym.simulators.llm.scripts import register_scripts
from empathy_gym.simulators.llm.speaker import RolePlaySpeaker
from empathy_gym.simulators.rule import TableRule
from empathy_gym.simulators.user import Perceiver, Speaker, User

OPTIONS: Final = ("api_key_env", "timeout_s", "total_timeout_s", "retries", "max_concurrency", "revision")
"""Fields of a configuration that are options of engines."""
LEDGER: Final = Ledger()
"""Where the requests and tokens of all language-model users of this process are counted, by role."""


def llm_user(config: SimulatorConfig) -> User:
    """Return the user of a configuration.

    Raises:
        ConfigError: If its fields contradict each other, or the engine is missing or unknown.
        MissingExtraError: If the engine needs a package that is not installed.
    """
    check(config)
    if config.perceiver == "embedded" and config.speaker == "written":
        return User(
            EmbeddedPerceiver(), TableRule(), AuthoredSpeaker(), scored_by="rule", determinism="exact"
        )
    return composed(config, engine_of(config))


def composed(config: SimulatorConfig, engine: ChatEngine, ledger: Ledger = LEDGER) -> User:
    """Return the user of a configuration around an engine.

    Args:
        config: Which parts, and how they ask.
        engine: Who answers; the configuration's own engine and tape are not looked at.
        ledger: Where requests and tokens are counted, as ``"perceiver"`` and ``"speaker"``.
    """
    says: Speaker = AuthoredSpeaker()
    if config.speaker != "written":
        counted = Counted(engine, ledger, "speaker")
        says = RolePlaySpeaker(
            counted, temperature=config.temperature, seed=config.seed, repairs=config.repairs
        )
    # Only a tape that answers everything makes a run repeatable; `auto` may still ask a live model.
    grade: Determinism = "replay" if config.tape_mode == "replay" else "rule-only"
    if config.perceiver == "direct":
        return DirectUser(
            DirectJudge(Counted(engine, ledger, "perceiver"), repairs=config.repairs),
            says,
            grade,
            taped=config.tape is not None,
        )
    reads: Perceiver = EmbeddedPerceiver()
    if config.perceiver != "embedded":
        reads = RubricPerceiver(
            Counted(engine, ledger, "perceiver"),
            form=config.answer or "json",
            repairs=config.repairs,
            fallback=EmbeddedPerceiver() if config.fallback == "embedded" else None,
        )
    scored_by: ScoredBy = "rule" if config.fallback is None else "custom"
    # A failure is on no tape, and neither is what somebody else reads in its place.
    taped = config.tape is not None and config.fallback is None
    return User(reads, TableRule(), says, scored_by=scored_by, determinism=grade, taped=taped)


def check(config: SimulatorConfig) -> None:
    """Refuse a configuration that contradicts itself.

    Raises:
        ConfigError: With what was got and what to do.
    """
    perceiver, speaker = config.perceiver or "rubric", config.speaker or "roleplay"
    asks = (perceiver, speaker) != ("embedded", "written")
    replays = config.tape_mode == "replay"
    for wrong, message in (
        (
            asks and config.engine is None and not (replays and config.tape),
            f"simulator='llm' with perceiver={perceiver!r} and speaker={speaker!r} needs an engine: give "
            "simulator_config.engine, 'openai:MODEL@URL', 'vllm:PATH', 'hf:PATH' or 'scripted:NAME'.",
        ),
        (
            config.tape_mode is not None and config.tape is None,
            f"simulator_config.tape_mode is {config.tape_mode!r}, but there is no tape: give "
            "simulator_config.tape, the path of its file.",
        ),
        (
            config.fallback is not None and perceiver != "rubric",
            f"simulator_config.fallback is {config.fallback!r}, which only perceiver='rubric' can "
            f"fall back from; the perceiver is {perceiver!r}. Leave it out.",
        ),
        (
            config.answer is not None and perceiver != "rubric",
            f"simulator_config.answer is {config.answer!r}, the form of a rubric's answer; the perceiver is "
            f"{perceiver!r}. Leave it out.",
        ),
    ):
        if wrong:
            raise ConfigError(message)


def engine_of(config: SimulatorConfig) -> ChatEngine:
    """Return the engine of a configuration, behind its tape where it has one.

    Replaying needs no model, no server and no key: then no engine is built, and the tape says whose it is.

    Raises:
        ConfigError: If the engine is missing or unknown, or an option does not fit it.
    """
    register_scripts()
    if config.tape is not None and config.tape_mode == "replay":
        return Tape(None, config.tape, "replay", model=_taped_model(config), revision=config.revision)
    if config.engine is None:
        raise ConfigError(
            "simulator_config.engine is None; give 'openai:MODEL@URL', 'vllm:PATH' or 'hf:PATH'."
        )
    engine = engine_from(config.engine, _options(config, config.engine))
    return engine if config.tape is None else Tape(engine, config.tape, config.tape_mode or "auto")


def _options(config: SimulatorConfig, spec: str) -> dict[str, Any]:
    """Return the options that the class of an engine takes; those it cannot take must not have been given."""
    scheme, _ = parse_spec(spec)
    valid = engine_options(scheme)
    for name in ("api_key_env", "revision"):
        if getattr(config, name) is not None and name not in valid:
            raise ConfigError(
                f"simulator_config.{name} is given, but the engine {scheme!r} takes none. Leave it out."
            )
    given = {name: getattr(config, name) for name in OPTIONS}
    known = {name: value for name, value in given.items() if value is not None and name in valid}
    return known | config.engine_options


def _taped_model(config: SimulatorConfig) -> str | None:
    """Return the model's name as a tape knows it, where the engine's name says it."""
    if config.engine is None:
        return None
    scheme, target = parse_spec(config.engine)
    if scheme == "openai":
        return target.rpartition("@http")[0]
    return config.engine if scheme == "scripted" else None
