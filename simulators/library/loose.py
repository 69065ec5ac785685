"""What hangs together wrongly in a situation some of whose fields are not valid.

Pydantic looks at how items hang together only once all of their fields are right. Here the fields that are wrong are
left out, and the rest is looked at all the same, so that an author sees everything at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from empathy_gym.simulators.library.documents import inner_model
from empathy_gym.simulators.situation import ITEM_KINDS, Problem, Situation, item_problems


def loose_problems(data: Any) -> Iterator[Problem]:
    """Yield what does not fit together between the items of a document's situation, as far as they can be read."""
    situation = data.get("situation") if isinstance(data, Mapping) else None
    if not isinstance(situation, Mapping) or not _readable(situation):
        return
    given = {kind: situation.get(kind, ()) for kind in ITEM_KINDS}
    wrong = {(kind, i): _wrong(kind, item) for kind in ITEM_KINDS for i, item in enumerate(given[kind])}
    items: dict[str, Any] = {
        kind: tuple(_loose(kind, i, item, wrong[kind, i]) for i, item in enumerate(given[kind]))
        for kind in ITEM_KINDS
    }
    for loc, text in item_problems(Situation.model_construct(**items)):
        # What is said of an item or a layer may only follow from what is wrong in it.
        if len(loc) == 1:
            doubtful = any("layer" in fields for (kind, _), fields in wrong.items() if kind == loc[0])
        else:
            fields = wrong[str(loc[0]), int(loc[1])]
            doubtful = bool(fields) if len(loc) == 2 else loc[2] in fields
        if not doubtful:
            yield ("situation", *loc), text


def _readable(situation: Mapping[str, Any]) -> bool:
    """Return whether all items are mappings in lists of the right names: or every reference would seem to fail."""
    lists = [value for kind, value in situation.items() if kind in ITEM_KINDS]
    return (
        "facts" in situation
        and situation.keys() <= Situation.model_fields.keys()
        and all(isinstance(value, Sequence) and not isinstance(value, str) for value in lists)
        and all(isinstance(item, Mapping) for value in lists for item in value)
    )


def _model(kind: str) -> type[BaseModel]:
    model: type[BaseModel] = inner_model(Situation.model_fields[kind].annotation)
    return model


def _wrong(kind: str, item: Mapping[str, Any]) -> set[str]:
    """Return the fields of an item that are not valid, or missing."""
    try:
        _model(kind).model_validate(item)
    except ValidationError as error:
        return {str(one["loc"][0]) if one["loc"] else "" for one in error.errors()}
    return set()


def _loose(kind: str, i: int, item: Mapping[str, Any], wrong: set[str]) -> Any:
    """Return an item without its wrong fields: None or the default stands for them."""
    model = _model(kind)
    fields: dict[str, Any] = {name: None for name, field in model.model_fields.items() if field.is_required()}
    # No two items lack an id in the same way; and a list is a tuple in a model, which tells it from a single id.
    fields["id"] = f"{kind} {i}"
    for name in model.model_fields.keys() & item.keys() - wrong:
        fields[name] = tuple(item[name]) if isinstance(item[name], list) else item[name]
    return model.model_construct(**fields)
