"""Chat engines: how a language model is reached, taped, counted and shared.

`OpenAIEngine`, `ScriptedEngine`, `Tape` and `Counted` need the core dependencies only. `engine_from` builds
each engine once per process from its declarative name.
"""

from empathy_gym.simulators.engines.base import ChatEngine, ChatReply, ChatRequest, ErrorKind
from empathy_gym.simulators.engines.ledger import Counted, Ledger, Prices
from empathy_gym.simulators.engines.openai import OpenAIEngine
from empathy_gym.simulators.engines.registry import close_all, engine_from, engine_options
from empathy_gym.simulators.engines.scripted import ScriptedEngine, register_script
from empathy_gym.simulators.engines.tape import Tape

__all__ = [
    "ChatEngine",
    "ChatReply",
    "ChatRequest",
    "Counted",
    "ErrorKind",
    "Ledger",
    "OpenAIEngine",
    "Prices",
    "ScriptedEngine",
    "Tape",
    "close_all",
    "engine_from",
    "engine_options",
    "register_script",
]
