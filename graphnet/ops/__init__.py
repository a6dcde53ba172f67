"""All ops. Each file defines op classes and the functions that users call."""

from importlib import import_module
from pkgutil import iter_modules

from . import operators

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

operators.install()
