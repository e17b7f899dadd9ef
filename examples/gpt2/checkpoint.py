"""A checkpoint: one .npz with the parameters, the optimiser's moments and what a resumed run needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from model import GPT2, Config, ModelError

from derive.arrays import read_arrays, write_arrays
from derive.errors import DeriveError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What a run is: its sizes, its settings, where it stands.

    Attributes:
        config: the model's sizes.
        arrays: `param/*`, and `m/*` and `v/*`, the moments of AdamW, by llm.c's names.
        step: steps done.
        alphabet: the characters, in the order of their tokens.
        settings: dtype, seed, batch, rate and decay.
    """

    config: Config
    arrays: dict[str, Array]
    step: int
    alphabet: str
    settings: dict[str, Any]

    def group(self, kind: str) -> dict[str, Array]:
        """The arrays `kind/*` by llm.c's names."""
        return {n.split("/")[1]: a for n, a in self.arrays.items() if n.startswith(kind + "/")}


def save(path: Path, model: GPT2, alphabet: str, settings: dict[str, Any]) -> None:
    """Write a checkpoint beside `path` and put it in place, so that the old one or the new one is there whole.

    Raises:
        ModelError: it cannot be written.
    """
    arrays = {f"param/{n}": a for n, a in model.host(model.parameters).items()}
    for kind, flat in zip("mv", model.moments, strict=True):
        arrays |= {f"{kind}/{n}": a for n, a in model.host(model.views(flat)).items()}
    c = model.config
    arrays |= {"config": np.array([c.L, c.H, c.C, c.V, c.maxT], np.int64), "step": np.int64(model.step),
               "alphabet": np.array(alphabet)}
    arrays |= {f"set/{n}": np.array(x) for n, x in settings.items()}
    try:
        write_arrays(path, arrays)
    except DeriveError as e:
        raise ModelError(f"cannot write the checkpoint {path}: {e.value}") from None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError, DeriveError: it is none.
    """
    if not path.exists():
        raise ModelError(f"there is no checkpoint {path} to resume from")
    arrays = read_arrays(path)
    try:
        settings = {n.split("/")[1]: a.item() for n, a in arrays.items() if n.startswith("set/")}
        found = Checkpoint(Config(*(int(n) for n in arrays["config"])), arrays, int(arrays["step"]),
                           str(arrays["alphabet"]), settings)
        absent = [n for n in ("dtype", "seed", "batch", "rate", "decay") if n not in settings]
        absent += [f"{kind}/{n}" for kind in ("param", "m", "v") for n in found.config.shapes()
                   if f"{kind}/{n}" not in arrays]
        if absent or len(found.alphabet) != found.config.V:
            raise ModelError(f"it lacks {', '.join(absent)}" if absent else "its alphabet is not as long as V")
    except (ValueError, TypeError, KeyError, ModelError) as e:
        why = str(e).splitlines()[0] if str(e) else repr(e)
        raise ModelError(f"{path} is no checkpoint of this example: {why}") from None
    return found
