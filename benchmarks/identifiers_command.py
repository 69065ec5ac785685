"""The commands ``empathy-gym identifiers train`` and ``identifiers eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from empathy_gym.benchmarks.console import out, print_json, print_lines, reporting
from empathy_gym.simulators.errors import ConfigError

identifiers_app = typer.Typer(help="Empathy identifiers: EPITOME's three mechanisms.", no_args_is_help=False)

File = Annotated[Path | None, typer.Option(help="CSV: seeker_post, response_post, level (and sp_id).")]


@identifiers_app.command("train")
@reporting
def train(
    target: Annotated[Path, typer.Option("--out", help="Folder for the weights.")],
    er: File = None,
    ip: File = None,
    ex: File = None,
    replies: Annotated[
        Path | None, typer.Option(help="Folder of labelled replies (YAML), instead of the three files.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Train this encoder (a folder or hub id; T5's kind too) instead of linear heads."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="With --encoder; 4 by default.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="With --encoder; 1e-4 by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="With --encoder; 32 by default.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=8, help="With --encoder: tokens of a pair; 192 by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="With --encoder; 0 by default.")] = None,
    device: Annotated[str, typer.Option(help="With --encoder: a torch device, or auto.")] = "auto",
) -> None:
    """Train identifiers: on EPITOME's three files, or on text written for this project.

    Without files and without --replies, on the labelled replies that come with the package. Sentences written for
    this project are joined into further replies. Linear heads in seconds; with --encoder a Transformers encoder with
    three heads, as in EmpRL (extra llm).
    """
    from empathy_gym.benchmarks.identifiers import read_files, save, train_on_files, train_on_replies

    given = {"ER": er, "IP": ip, "EX": ex}
    if replies is not None and any(given.values()):
        raise ConfigError("--replies and --er, --ip, --ex are two ways to train; give one of them.")
    how = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "max_length": max_length,
        "seed": seed,
    }
    options = {name: value for name, value in how.items() if value is not None}
    if encoder is not None:
        files = _all(given) if any(given.values()) else None
        _train_encoder(encoder, files, replies, target, options, device)
        return
    if options or device != "auto":
        name = next(iter(options), "device").replace("_", "-")
        raise ConfigError(f"--{name} is for --encoder: linear heads have no such setting.")
    if any(given.values()):
        paths = _all(given)
        names = {name: path.name for name, path in paths.items()}
        heads = train_on_files(read_files(paths), {"files": names})
    else:
        heads = train_on_replies(replies)
    path = save(heads, target)
    print_lines([f"{path}: {path.stat().st_size:,} bytes, identifiers:{heads.hash[:16]}"])


def _train_encoder(
    encoder: str,
    paths: dict[str, Path] | None,
    replies: Path | None,
    target: Path,
    options: dict[str, Any],
    device: str,
) -> None:
    from pydantic import ValidationError

    from empathy_gym.benchmarks.encoder_training import EncoderFit, train_encoder
    from empathy_gym.benchmarks.identifiers import encoder_data, read_files

    try:
        how = EncoderFit.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}.") from None
    data = encoder_data(None if paths is None else read_files(paths), replies)
    about: dict[str, Any] = {"text": "written for empathy-gym"}
    if paths is not None:
        names = {name: path.name for name, path in paths.items()}
        about = {"text": "EPITOME's files; no licence: do not distribute", "files": names}
    found = train_encoder(encoder, data, how, about, device=device, tell=lambda text: print_lines([text]))
    print_lines([f"{found.save(target)}: {found.fingerprint}"])


@identifiers_app.command("eval")
@reporting
def evaluate(
    er: File = None,
    ip: File = None,
    ex: File = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder that `train` wrote, or 'structure'; the package's weights by default."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Cross-validate identifiers trained on the files, in so many parts."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare identifiers with EPITOME's annotators: accuracy and macro-F1, majority and a baseline beside them.

    The baseline is a plain logistic regression on hashed word n-grams, cross-validated on the files in any case.
    """
    from empathy_gym.benchmarks.identifiers import FOLDS, read_files
    from empathy_gym.benchmarks.identifiers import evaluate as run
    from empathy_gym.rewards.identifiers import STRUCTURE, load_identifier

    if folds is not None and weights is not None:
        raise ConfigError(
            "--folds trains identifiers of its own, --weights names trained ones; give one of them."
        )
    source = STRUCTURE if str(weights) == STRUCTURE else weights
    identifier = load_identifier(source) if folds is None else None
    files = read_files(_all({"ER": er, "IP": ip, "EX": ex}))
    result = run(files, identifier, folds or FOLDS)
    if as_json:
        print_json(result)
        return
    who = f"cross-validated, {folds} folds" if identifier is None else identifier.fingerprint
    out().print(_table(who, result))
    splits = {result[name]["split_by"] for name in files}
    print_lines(
        [
            f"Splits and intervals keep together what has the same {' or '.join(sorted(splits))}.",
            f"{result['pairs_per_second']:,.0f} pairs a second of one core.",
        ]
    )


def _all(given: dict[str, Path | None]) -> dict[str, Path]:
    """Return the three paths.

    Raises:
        ConfigError: If one is missing.
    """
    paths = {name: path for name, path in given.items() if path is not None}
    missing = [f"--{name.lower()}" for name in given if name not in paths]
    if missing:
        raise ConfigError(f"Missing {', '.join(missing)}: one CSV file for each of --er, --ip and --ex.")
    return paths


def _table(who: str, result: dict[str, Any]) -> Table:
    table = Table(title=who, title_justify="left")
    for name in ("mechanism", "reader"):
        table.add_column(name)
    for name in ("accuracy", "95 % interval", "macro-F1", "95 % interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in result.items():
        if not isinstance(found, dict):
            continue
        for reader, row in (
            ("identifier", found),
            ("majority", found["majority"]),
            ("n-gram baseline, cross-validated", found["baseline"]),
        ):
            if row is not None:
                table.add_row(name, reader, *_cells(row), str(found["n"]))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        text
        for key in ("accuracy", "macro_f1")
        for text in (f"{100 * row[key]:.1f}", " - ".join(f"{100 * end:.1f}" for end in row[f"{key}_ci95"]))
    ]
