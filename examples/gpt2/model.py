"""GPT-2 from generated kernels: forward, backward, AdamW.

Nothing here computes: every number comes from a kernel that derive made of a formula in `ops/` or in its catalogue.
What is left to Python is the order of the calls, as in llm.c, and views of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from operations import Arrays, Emitted, array_module

BLOCK = ("ln1w", "ln1b", "qkvw", "qkvb", "attprojw", "attprojb", "ln2w", "ln2b", "fcw", "fcb", "fcprojw", "fcprojb")
MATRICES = ("wte", "wpe", "qkvw", "attprojw", "fcw", "fcprojw")  # these decay


class ModelError(Exception):
    """A configuration, an array or a file that the model cannot use."""


@dataclass(frozen=True)
class Config:
    """Sizes, by llm.c's letters: layers, heads, channels, vocabulary, and the longest sequence."""

    L: int
    H: int
    C: int
    V: int
    maxT: int  # noqa: N815

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ModelError(f"{name} must be at least 1, not {value}")
        if self.C % self.H:
            raise ModelError(f"the channels must divide among the heads: C = {self.C}, H = {self.H}")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape, by llm.c's names."""
        L, C = self.L, self.C
        inner = {"ln1w": (C,), "ln1b": (C,), "qkvw": (3*C, C), "qkvb": (3*C,), "attprojw": (C, C), "attprojb": (C,),
                 "ln2w": (C,), "ln2b": (C,), "fcw": (4*C, C), "fcb": (4*C,), "fcprojw": (C, 4*C), "fcprojb": (C,)}
        return {"wte": (self.V, C), "wpe": (self.maxT, C), **{n: (L, *inner[n]) for n in BLOCK},
                "lnfw": (C,), "lnfb": (C,)}


class GPT2:
    """The model and its optimiser's state.

    All parameters lie in one array, first those that decay, so that AdamW is two launches; `parameters` and
    `gradients` are views of it and of its gradient.

    Args:
        config: sizes.
        parameters: their values by llm.c's names.
        dtype: float32 or float64.
        executor: auto, cupy or emulator.
    """

    def __init__(self, config: Config, parameters: Arrays, dtype: str = "float32", executor: str = "auto") -> None:
        self.config, self.cp, self.dtype = config, array_module(executor), np.dtype(dtype)
        self.order = sorted(config.shapes(), key=lambda n: n not in MATRICES)
        self.encoder, self.block, self.head, self.loss = (
            Emitted(n, dtype, self.cp) for n in ("encoder", "gpt2_block", "head", "loss"))
        self._adamw: Emitted | None = None
        self.step = 0
        self.flat = self.flatten(parameters)
        self.flat_gradient, *self.moments = (self.cp.zeros(self.flat.shape, self.dtype) for _ in range(3))
        self.parameters, self.gradients = self.views(self.flat), self.views(self.flat_gradient)

    def flatten(self, named: Arrays) -> Any:
        """One array of all parameters, or of what has their shapes."""
        shapes = self.config.shapes()
        for n in self.order:
            if n not in named:
                raise ModelError(f"parameter {n} is missing")
            if named[n].shape != shapes[n]:
                raise ModelError(f"parameter {n} must have shape {shapes[n]}, not {named[n].shape}")
        return self.cp.asarray(np.concatenate([np.asarray(named[n], self.dtype).reshape(-1) for n in self.order]))

    def views(self, flat: Any) -> Arrays:
        """The parts of such an array by name."""
        shapes, found, start = self.config.shapes(), {}, 0
        for n in self.order:
            found[n] = flat[start:start + prod(shapes[n])].reshape(shapes[n])
            start += prod(shapes[n])
        return found

    # ------------------------------------------------------------------------------------------- the passes

    def forward(self, tokens: Any, targets: Any = None) -> tuple[Any, Any]:
        """Logits, and the loss if there are targets. What backward reads is kept until the next forward.

        Args:
            tokens: [B, T], int32.
            targets: [B, T], int32.
        """
        p, (_, T) = self.parameters, tokens.shape
        if self.config.maxT < T:
            raise ModelError(f"a sequence of {T} tokens is longer than the model's longest, {self.config.maxT}")
        self.kept = {"encoder": self.encoder.forward({"tokens": tokens, "wte": p["wte"], "wpe": p["wpe"][:T]})}
        x = self.kept["encoder"]["X"]
        for n, weights in enumerate(self.blocks(p)):
            self.kept[f"block {n}"] = self.block.forward({**weights, "X": x})
            x = self.kept[f"block {n}"]["Y"]
        self.kept["head"] = self.head.forward({"X": x, "lnfw": p["lnfw"], "lnfb": p["lnfb"], "wte": p["wte"]})
        logits = self.kept["head"]["logits"]
        if targets is None:
            return logits, None
        self.kept["loss"] = self.loss.forward({"logits": logits, "targets": targets})
        return logits, self.kept["loss"]["loss"]

    def backward(self) -> None:
        """The gradients of the last forward's loss, into `gradients`."""
        g, kept, one = self.gradients, self.kept, self.cp.ones((), self.dtype)
        dlogits = self.loss.backward({**kept["loss"], "dloss": one}, {})["dlogits"]
        into = {"dlnfw": g["lnfw"], "dlnfb": g["lnfb"], "dwte": g["wte"]}
        dx = self.head.backward({**kept["head"], "dlogits": dlogits}, into)["dX"]
        for n, parts in reversed(list(enumerate(self.blocks(g)))):
            into = {f"d{m}": part for m, part in parts.items()}
            dx = self.block.backward({**kept[f"block {n}"], "dY": dx}, into)["dX"]
        T = kept["encoder"]["tokens"].shape[1]
        g["wpe"][...] = 0
        into = {"dwte": g["wte"], "dwpe": g["wpe"][:T]}  # the classifier has written its part into wte's
        self.encoder.backward({**kept["encoder"], "dX": dx}, into, accumulate=True)

    def blocks(self, arrays: Arrays) -> Iterator[Arrays]:
        """Views of each layer's parameters, or gradients, as gpt2_block.op names and shapes them."""
        L, H, C = self.config.L, self.config.H, self.config.C
        D = C//H
        for n in range(L):
            layer = {m: arrays[m][n] for m in BLOCK}
            weights, biases = layer.pop("qkvw").reshape(3, H, D, C), layer.pop("qkvb").reshape(3, H, D)
            layer |= {f"w{m}": weights[i] for i, m in enumerate("qkv")}
            layer |= {f"b{m}": biases[i] for i, m in enumerate("qkv")}
            layer["attprojw"] = layer["attprojw"].reshape(C, H, D)
            yield layer

    # --------------------------------------------------------------------------------------------- training

    def update(self, rate: float, decay: float = 0.1) -> None:
        """One step of AdamW; vectors do not decay."""
        if self._adamw is None:
            self._adamw = Emitted("adamw", str(self.dtype), self.cp, differentiable=False)
        self.step += 1
        scalars = {"eta": rate, "c1": 1 - 0.9**self.step, "c2": 1 - 0.99**self.step}
        whole = {"W": self.flat, "M": self.moments[0], "V": self.moments[1], "G": self.flat_gradient}
        middle = sum(self.parameters[n].size for n in MATRICES)
        for part, amount in ((slice(0, middle), decay), (slice(middle, None), 0.0)):
            held = {n: a[part] for n, a in whole.items()}
            held |= {n: self.cp.asarray(np.full((), x, self.dtype)) for n, x in {**scalars, "decay": amount}.items()}
            made = self._adamw.forward(held)
            for n in ("W", "M", "V"):
                whole[n][part] = made[f"{n}_new"]

    def host(self, named: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        """Copies as NumPy arrays."""
        return {n: np.array(self.cp.asnumpy(a)) for n, a in named.items()}

