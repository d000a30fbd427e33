"""Register our modules with ultralytics right after its parser is imported, without importing it here."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PARSER = "ultralytics.nn.tasks"
_REGISTRATION = "trainer.ultralytics_bridge.registration"


class _RegisteringLoader(Loader):
    """Run the real loader, then the registration."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # the finished module shows only its real loader
        self._loader.exec_module(module)
        importlib.import_module(_REGISTRATION)


class _ParserFinder(MetaPathFinder):
    """Find the parser with the other finders, and wrap their loader in ours."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PARSER:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, _ParserFinder))
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


def install() -> None:
    """Register now if the parser is loaded already, else as soon as it is; further calls change nothing."""
    if _PARSER in sys.modules:
        importlib.import_module(_REGISTRATION)
    elif not any(isinstance(finder, _ParserFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ParserFinder())
