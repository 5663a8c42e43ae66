"""Loads the YAML files that users write, and reports every fault with its line."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from harness.errors import InputError, SpecError


class Document(BaseModel):
    """Base of the models of user files: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        regex_engine="python-re",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


_FILE_BYTES = 128 << 10  # YAML is parsed at about 20 kB/s
_VALUES = 100_000  # of a file, counting what an alias (*name) stands for each time
DocumentT = TypeVar("DocumentT", bound=BaseModel)


def load_document(path: Path, model: type[DocumentT], /, **extra: Any) -> DocumentT:
    """Return the file at `path` as a `model`; `extra` are further top-level fields.

    Raises InputError when it cannot be read and SpecError with every fault and its line.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_FILE_BYTES + 1)
        text = data[:_FILE_BYTES].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if len(data) > _FILE_BYTES:
        raise InputError(f"cannot read {path}: it is larger than {_FILE_BYTES >> 10} KiB")
    return parse_document(text, model, path, **extra)


def render_document(content: Mapping[str, Any]) -> str:
    """Return `content` (plain values) as YAML."""
    yaml, stream = YAML(), io.StringIO()
    yaml.default_flow_style = False
    yaml.width = 100
    yaml.dump(dict(content), stream)
    return stream.getvalue()


def parse_document(
    text: str, model: type[DocumentT], path: Path | str = "<text>", /, **extra: Any
) -> DocumentT:
    """Return `text` (YAML 1.2) as a `model`, as `load_document` does; `path` names it in errors."""
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(path, [f"{line}: not valid YAML: {error.problem}"]) from error
    except Exception as error:  # ruamel raises whatever comes of a tag on the wrong kind of value
        raise SpecError(path, [f"1: not valid YAML: {type(error).__name__}: {error}"]) from error
    if not isinstance(tree, CommentedMap):
        raise SpecError(path, ["1: expected a mapping of keys to values at top level"])
    try:
        plain = _Plain().value_of(tree)
    except _TooManyValuesError as error:
        raise SpecError(path, [f"1: {error}"]) from error
    try:
        # As JSON, so that strict types accept a YAML list for a tuple and a string for an enum.
        return model.model_validate_json(json.dumps({**plain, **extra}, default=str))
    except ValidationError as error:
        found = error.errors()
        faults = [
            f"{_line_of(tree, fault['loc'])}: {_key(fault['loc'])}{_describe(fault)}"
            for fault in found
            if not any(_within(other["loc"], fault["loc"]) for other in found)
        ]
        raise SpecError(path, faults) from error


class _TooManyValuesError(Exception):
    """Aliases make a small file expand to too many values."""

    def __init__(self) -> None:
        super().__init__(
            f"it expands to more than {_VALUES:,} values, or contains itself; "
            "write fewer, and check its aliases (*name)"
        )


class _Plain:
    """Converts ruamel's annotated tree to plain dicts, lists and scalars, at most `_VALUES`."""

    def __init__(self) -> None:
        self._left = _VALUES

    def value_of(self, node: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooManyValuesError
        try:
            if isinstance(node, CommentedMap):
                return {self.key_of(key): self.value_of(value) for key, value in node.items()}
            if isinstance(node, CommentedSeq):
                return [self.value_of(item) for item in node]
        except RecursionError:
            raise _TooManyValuesError from None
        for scalar in (bool, int, float, str):
            if isinstance(node, scalar):
                return scalar(node)
        return node

    def key_of(self, node: Any) -> Any:
        """Return a key; a list, a date or whatever else JSON has no key for is its text."""
        key = self.value_of(node)
        return key if key is None or isinstance(key, str | int | float) else str(key)


def _within(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    """Return whether the fault at `outer` merely follows from the one at `inner`."""
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _line_of(node: Any, location: tuple[int | str, ...]) -> int:
    """Return the line (from 1) of the deepest part of `location` that exists in the file."""
    line = 1
    for step in location:
        try:
            if isinstance(node, CommentedMap) and step in node:
                line = node.lc.key(step)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(step, int):
                line = node.lc.item(step)[0] + 1
            else:
                continue  # the name of a union member, not a key
            node = node[step]
        except (KeyError, IndexError, AttributeError):
            break
    return line


def _key(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(str(step) for step in location)}: " if location else ""


def _describe(fault: Any) -> str:
    found = fault.get("input")
    shown = f", found {found!r}" if isinstance(found, str | int | float | bool) else ""
    return f"{fault['msg'].removeprefix('Value error, ')}{shown}"  # pydantic's prefix
