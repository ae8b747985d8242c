"""Fretsaw's engine: the stages that need PyTorch.

A stage reads one job file (`engine/contract/job.v1.schema.json`), writes JSON-lines events and one
folder an output, and last of all the done-manifest. Nothing else tells that it succeeded.

After `import fretsaw_engine`, transformers' AutoModelForCausalLM loads `gpt_oss_puzzle`. The class
is registered when an Auto class is first asked to load something: importing transformers takes
seconds, which a process that only reads a job file need not spend, and while transformers imports
its own modules it has no whole GptOss to build ours on.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_TABLE = "transformers.models.auto.modeling_auto"
_CONFIGS = "transformers.models.auto.configuration_auto"


class _FirstUse:
    """Stands for a loading method of an Auto class until it is looked up."""

    def __init__(self, owner: type, name: str, waiting: list[_FirstUse]) -> None:
        self._owner, self._name, self._waiting = owner, name, waiting
        self._own = owner.__dict__.get(name)
        waiting.append(self)
        setattr(owner, name, self)

    def __get__(self, instance: object, owner: type) -> Any:
        while self._waiting:
            self._waiting.pop()._restore()
        importlib.import_module("fretsaw_engine.moe.puzzle")
        return getattr(owner, self._name)

    def _restore(self) -> None:
        if self._own is None:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._own)


def _register_on_first_use(table: ModuleType) -> None:
    waiting: list[_FirstUse] = []
    _FirstUse(sys.modules[_CONFIGS].AutoConfig, "from_pretrained", waiting)
    for name in ("from_pretrained", "from_config"):
        _FirstUse(table.AutoModelForCausalLM, name, waiting)


class _Registering(Loader):
    """Loads the table as it would be loaded anyway, then has the class registered in time."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register_on_first_use(module)


class _Finder(MetaPathFinder):
    """Finds one module, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TABLE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


if _TABLE in sys.modules:
    _register_on_first_use(sys.modules[_TABLE])
else:
    sys.meta_path.insert(0, _Finder())
