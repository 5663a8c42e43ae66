"""The reference of every key that a user may write, and JSON Schemas for editors.

Both come from the models; `python -m harness.spec.reference` in a clone writes
docs/reference/files.md and the schemas beside the shipped files.
"""

import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from harness.spec.host import HostSpec
from harness.spec.kernel import KernelSpec
from harness.spec.nightly import NightlySpec
from harness.spec.playbook import Playbook
from harness.spec.published import PublishedResults
from harness.spec.shipped import shipped_folder

FILES: dict[str, tuple[type[BaseModel], str, str]] = {
    "playbook": (Playbook, "playbooks/NAME.yaml", "playbooks/schemas/playbook.json"),
    "kernel": (KernelSpec, "kernels/NAME.yaml", "kernels/schemas/kernel.json"),
    "host": (HostSpec, "playbooks/hosts/NAME.yaml", "playbooks/schemas/host.json"),
    "nightly": (NightlySpec, "NAME.yaml", "playbooks/schemas/nightly.json"),
    "published": (PublishedResults, "NAME.yaml", "playbooks/schemas/published.json"),
}
"""Kind of file: its model, where such files are, and where its schema is."""

SET_BY_THE_LOADER = ("name", "folder", "text")  # fields that no file has
_HEAD = """# Keys of playbooks, kernel files, host files, nightly files and published results

Generated from harness/spec by `python -m harness.spec.reference`. Editors with
yaml-language-server complete and check a file whose first line is

    # yaml-language-server: $schema=schemas/playbook.json

with the path of playbook.json, host.json, nightly.json or published.json in `playbooks/schemas`, or
of kernel.json in `kernels/schemas`; `vmapbench init FOLDER` writes them. Playbooks, kernels, hosts
and nightly runs are named after their files.
"""


def render_reference() -> str:
    """Return docs/reference/files.md."""
    parts = [_HEAD]
    for kind, (model, place, _) in FILES.items():
        parts.append(f"## {kind.capitalize()} files\n\n`{place}`\n\n{_table(model, top=True)}")
        parts += [f"### {_title(part)}\n\n{_table(part)}" for part in parts_of(model)]
    return "\n".join(parts)


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of file."""
    model = FILES[kind][0]
    schema = model.model_json_schema()
    for name in SET_BY_THE_LOADER:
        schema["properties"].pop(name, None)
    schema["required"] = [n for n in schema["required"] if n not in SET_BY_THE_LOADER]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text(kind: str) -> str:
    """Return the JSON Schema of a kind of file as text, as written to its file."""
    return json.dumps(schema_of(kind), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def parts_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the models nested in `model`, at any depth, each once."""
    found: dict[type[BaseModel], None] = {}
    for field in model.model_fields.values():
        for part in _models(field.annotation):
            found |= dict.fromkeys([part, *parts_of(part)])
    return list(found)


def described(model: type[BaseModel], top: bool) -> dict[str, FieldInfo]:
    """Return the fields that a user writes."""
    skipped = SET_BY_THE_LOADER if top else ()
    return {name: field for name, field in model.model_fields.items() if name not in skipped}


def meaning_and_example(field: FieldInfo) -> tuple[str, str]:
    """Return the meaning and the example from the docstring of a field."""
    text = " ".join((field.description or "").split())
    meaning, _, example = text.partition(" Example: ")
    return meaning, example


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def _title(model: type[BaseModel]) -> str:
    text = (model.__doc__ or model.__name__).strip().split("\n")[0]
    name = model.__name__.removesuffix("Spec")
    return f"{name}: {text}"


def _table(model: type[BaseModel], top: bool = False) -> str:
    lines = ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    for name, field in described(model, top).items():
        meaning, example = meaning_and_example(field)
        default = (
            "required"
            if field.is_required()
            else f"`{_plain(field.get_default(call_default_factory=True))}`"
        )
        cells = [f"`{name}`", _type_of(field), default, meaning, example]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """Return a default value as YAML."""
    if isinstance(value, BaseModel):
        return json.dumps(value.model_dump(mode="json", exclude_defaults=True))
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value) if not isinstance(value, str) or not value else value


def _type_of(field: FieldInfo) -> str:
    """Return a description of the type of a field, or its possible values."""
    schema = field.json_schema_extra
    if isinstance(schema, dict) and isinstance(values := schema.get("enum"), list):
        return ", ".join(f"`{value}`" for value in values)
    return _type(field.annotation)


def _type(annotation: Any) -> str:
    """Return a description of a type."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(_type(i) for i in inner if i is not type(None)))
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"mapping of {_type(inner[0])} to {_type(inner[1])}"
    names = {bool: "bool", int: "integer", float: "number", str: "text", Path: "path"}
    return names.get(annotation) or str(annotation.__name__).removesuffix("Spec")


def _write(root: Path) -> None:
    (root / "docs/reference/files.md").write_text(render_reference(), encoding="utf-8")
    for kind, (_, _, place) in FILES.items():
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_text(schema_text(kind), encoding="utf-8")


if __name__ == "__main__":
    _write(shipped_folder())
