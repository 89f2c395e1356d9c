"""The facevae command, which notes the time before and after its first training step and ends there. For startup.py.

`Trainer.advance` is wrapped at the moment its module is imported, so that the command imports what it does in its own order.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

TARGET = "facevae.model.training"


class WrapOnImport(MetaPathFinder):
    """Finds `TARGET` as everybody does, and wraps `Trainer.advance` once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_wrap(module: ModuleType) -> None:
                load(module)
                wrap(module.Trainer)

            spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec


def wrap(trainer: Any) -> None:
    """Make `trainer.advance` print its times and end the process after its first call."""
    advance = trainer.advance

    def first_advance(self: Any) -> None:
        begun = time.time()
        advance(self)
        if "cuda" in str(self.vae.device):
            import torch

            torch.cuda.synchronize()
        print(f"stamp the first step begins {begun}")
        print(f"stamp the first step is done {time.time()}", flush=True)
        os._exit(0)

    trainer.advance = first_advance


if __name__ == "__main__":
    sys.meta_path.insert(0, WrapOnImport())
    from facevae.cli.main import main

    main()
