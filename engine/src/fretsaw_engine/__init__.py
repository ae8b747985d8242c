"""Fretsaw's engine: the stages that need PyTorch.

A stage reads one job file (`engine/contract/job.v1.schema.json`), writes JSON-lines events and one
folder an output, and last of all the done-manifest. Nothing else tells that it succeeded.

After `import fretsaw_engine`, transformers' AutoModelForCausalLM loads `gpt_oss_puzzle`. The class
is registered when transformers' own table of models is loaded, not now: importing transformers
takes seconds, which a process that only reads a job file need not spend.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_TABLE = "transformers.models.auto.modeling_auto"


def _register() -> None:
    importlib.import_module("fretsaw_engine.moe.puzzle")


class _Registering(Loader):
    """Loads the table as it would be loaded anyway, then registers."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _register()


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
    _register()
else:
    sys.meta_path.insert(0, _Finder())
