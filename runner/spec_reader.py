"""Reads a job file with its variant, options and overrides into one checked specification.

Everything is checked before anything is written or started; the first mistake is said in one
sentence, with the number of the others.

Runs in: driver, worker.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

import jobs
from runner.overrides import Layer, merge, nest, origin_of, read_assignments
from runner.secret_settings import refuse_secrets
from runner.spec import JOB_NAME, Config, RunSpec
from runner.spec_errors import nearest, sentences
from watchdog.errors import SpecError
from watchdog.strict_yaml import dump_yaml, read_yaml

ModelT = TypeVar("ModelT", bound=BaseModel)


class NoConfig(Config):
    """The task settings of a job that has none."""


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """A specification with nothing left to look up.

    `spec.task` holds every setting of the task, defaults included; `task_config` is the same as
    the job's own `Config`.
    """

    spec: RunSpec
    task_config: BaseModel


def read_spec(
    job: str,
    *,
    overrides: Sequence[str] = (),
    variant: str | None = None,
    data: str | None = None,
    workers: str | None = None,
    drill: str | None = None,
) -> ResolvedSpec:
    """Return the specification of `jobs/<job>/job.yaml` after variant, options and overrides.

    Args:
        job: the folder under `jobs/`.
        overrides: SET texts, each with any number of `a.b=value`; they win over all else.
        variant: a name under the file's `variants:`.
        data: data folder; must exist.
        workers: a count or an elastic range such as `1-4`.
        drill: faults on purpose; only carried here, not parsed.

    Raises:
        SpecError: any of it is unknown, of the wrong type or impossible.
    """
    path = _job_file(job)
    where = _display(path)
    values = _load_section(path, where)
    variants = values.pop("variants", None) or {}
    values.setdefault("name", job)
    layers = [Layer(where, values)]
    if variant is not None:
        layers.append(_variant_layer(variant, variants, where))
    if data is not None:
        layers.append(Layer("DATA", nest(["data", "path"], data)))
    if workers is not None:
        layers.append(Layer("WORKERS", {"workers": _count_or_text(workers)}))
    if drill is not None:
        layers.append(Layer("DRILL", {"drill": drill}))
    for text in overrides:
        layers.extend(read_assignments(text))
    refuse_secrets(layers)
    _check_name(job, layers)
    return _with_data_folder(_resolve(layers), layers)


def read_resolved(path: Path) -> ResolvedSpec:
    """Return the specification that `dump_spec` wrote, as `resume` and the workers need it.

    Raises:
        SpecError: the file is missing, or is not a resolved specification.
    """
    where = _display(path)
    return _resolve([Layer(where, _load_section(path, where))])


def dump_spec(spec: RunSpec) -> str:
    """Return YAML from which `read_resolved` reads an equal specification."""
    return dump_yaml(spec.model_dump(mode="json"))


def known_jobs() -> list[str]:
    """Return the names of the folders under `jobs/` that hold a job.yaml."""
    return sorted(
        path.parent.name for root in jobs.__path__ for path in Path(root).glob("*/job.yaml")
    )


def _job_file(job: str) -> Path:
    for root in jobs.__path__:
        path = Path(root) / job / "job.yaml"
        if re.fullmatch(JOB_NAME, job) and path.is_file():
            return path
    known = known_jobs()
    raise SpecError(
        f"job {job or '(no name)'} is unknown: no jobs/{job}/job.yaml{nearest(job, known)} "
        f"(known: {', '.join(known) or 'none'}); JOB={job} names the folder"
    )


def _load_section(path: Path, where: str) -> dict[str, Any]:
    values = read_yaml(path, where)
    if not isinstance(values, dict):
        raise SpecError(f"{where}: is {_kind(values)}, not a list of settings (name: value)")
    return values


def _variant_layer(variant: str, variants: Any, where: str) -> Layer:
    if not isinstance(variants, Mapping):
        raise SpecError(f"{where}: variants is {_kind(variants)}; wanted name: settings")
    if variant not in variants:
        known = sorted(variants)
        raise SpecError(
            f"{where}: variant {variant} is unknown{nearest(variant, known)} "
            f"(known: {', '.join(known) or 'none'}); VARIANT={variant} chose it"
        )
    values = variants[variant]
    if not isinstance(values, Mapping):
        raise SpecError(f"{where}: variants.{variant} is {_kind(values)}; wanted name: value")
    return Layer(f"{where} variants.{variant}", values)


def _count_or_text(workers: str) -> int | str:
    return int(workers) if re.fullmatch(r"\s*[0-9]{1,9}\s*", workers) else workers


def _check_name(job: str, layers: Sequence[Layer]) -> None:
    name = merge(layers)["name"]
    if name != job:
        raise SpecError(
            f"{origin_of(layers, ['name'])}: name={name} differs from the job's folder {job}; "
            "a job is called as its folder, so delete name"
        )


def _resolve(layers: Sequence[Layer]) -> ResolvedSpec:
    problems: list[str] = []
    spec = _validate(RunSpec, merge(layers), layers, "", problems)
    if spec is None:
        _refuse(problems)
    config = _task_model(spec.name, spec.task, layers)
    task_config = _validate(config, spec.task, layers, "task", problems)
    if task_config is None:
        _refuse(problems)
    complete = spec.model_copy(update={"task": task_config.model_dump(mode="json")})
    return ResolvedSpec(spec=complete, task_config=task_config)


def _validate(
    model: type[ModelT],
    values: Mapping[str, Any],
    layers: Sequence[Layer],
    prefix: str,
    problems: list[str],
) -> ModelT | None:
    # As JSON, because strict models take a list for a tuple and text for an enum only there.
    try:
        text = json.dumps(values)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{layers[0].origin}: a value contains itself; {error}") from error
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems.extend(sentences(error, model, layers, prefix))
        return None


def _refuse(problems: Sequence[str]) -> NoReturn:
    more = len(problems) - 1
    ending = f" (and {more} more mistake{'s' if more > 1 else ''})" if more else ""
    raise SpecError(problems[0] + ending)


def _task_model(job: str, task: Mapping[str, Any], layers: Sequence[Layer]) -> type[BaseModel]:
    """Return the job's `Config`; only its module is imported, which must not need torch."""
    module_name = f"jobs.{job}.config"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name not in (module_name, f"jobs.{job}"):
            raise SpecError(f"{module_name}: cannot be imported; {error}") from error
        if task:
            setting = next(iter(task))
            raise SpecError(
                f"{origin_of(layers, ['task', setting])}: task.{setting} is not a setting; job "
                f"{job} has none, since jobs/{job}/config.py does not exist"
            ) from None
        return NoConfig
    except Exception as error:
        raise SpecError(f"{module_name}: cannot be imported; {error!r}") from error
    config = getattr(module, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise SpecError(f"{module_name}: has no pydantic model called Config")
    return config


def _with_data_folder(resolved: ResolvedSpec, layers: Sequence[Layer]) -> ResolvedSpec:
    """Return the specification with an absolute data folder, so that any shell can resume it."""
    given = resolved.spec.data.path
    if given is None:
        return resolved
    folder = Path(given).expanduser().absolute()
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SpecError(
            f"{origin_of(layers, ['data', 'path'])}: the data folder {folder} {problem}; "
            f"data.path={given} names it, null generates samples"
        )
    data = resolved.spec.data.model_copy(update={"path": str(folder)})
    spec = resolved.spec.model_copy(update={"data": data})
    return ResolvedSpec(spec=spec, task_config=resolved.task_config)


def _kind(value: Any) -> str:
    names = {dict: "a section", list: "a list", str: "text", type(None): "empty"}
    return names.get(type(value), f"the value {value!r}")


def _display(path: Path) -> str:
    """Return the path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
