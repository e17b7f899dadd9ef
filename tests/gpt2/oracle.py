"""GPT-2 and AdamW in plain NumPy, float64, written by hand from the model's definition and judged by nothing of derive.

The backward is written layer by layer, as llm.c has it; `test_oracle.py` holds it against differences of the forward.
Run as a script it writes a reference file for `examples/gpt2/check.py`:

    python tests/gpt2/oracle.py FILE.npz --sizes L,H,C,V,T,B,maxT [--seed N]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
LAYER = ("ln1w", "ln1b", "qkvw", "qkvb", "attprojw", "attprojb", "ln2w", "ln2b", "fcw", "fcb", "fcprojw", "fcprojb")
ROOT = math.sqrt(2/math.pi)


def _norm(x: Array, w: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    centred = x - x.mean(-1, keepdims=True)
    scale = 1/np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred*scale*w + b, (centred*scale, scale)


def _norm_back(dy: Array, w: Array, kept: tuple[Array, Array]) -> tuple[Array, Array, Array]:
    unit, scale = kept
    d = dy*w
    dx = scale*(d - d.mean(-1, keepdims=True) - unit*(d*unit).mean(-1, keepdims=True))
    return dx, (dy*unit).sum((0, 1)), dy.sum((0, 1))


def _linear_back(dy: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    rows, columns = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ w, rows.T @ columns, rows.sum(0)


def _heads(x: Array, heads: int) -> Array:
    B, T, C = x.shape
    return x.reshape(B, T, heads, C//heads).transpose(0, 2, 1, 3)


def _joined(x: Array) -> Array:
    B, H, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H*D)


def forward(p: Arrays, heads: int, tokens: Array, targets: Array) -> tuple[float, Array, list[Any]]:
    """Loss, logits, and what the backward reads."""
    T = tokens.shape[1]
    x, kept = p["wte"][tokens] + p["wpe"][:T], []
    later = np.triu(np.ones((T, T), bool), 1)
    for n in range(p["ln1w"].shape[0]):
        w = {m: p[m][n] for m in LAYER}
        normal, norm1 = _norm(x, w["ln1w"], w["ln1b"])
        q, k, v = (_heads(part, heads) for part in np.split(normal @ w["qkvw"].T + w["qkvb"], 3, axis=-1))
        scores = q @ k.swapaxes(-1, -2)/math.sqrt(q.shape[-1])
        scores[..., later] = -np.inf
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        odds /= odds.sum(-1, keepdims=True)
        mixed = _joined(odds @ v)
        middle = x + mixed @ w["attprojw"].T + w["attprojb"]
        normal2, norm2 = _norm(middle, w["ln2w"], w["ln2b"])
        wide = normal2 @ w["fcw"].T + w["fcb"]
        bent = np.tanh(ROOT*(wide + 0.044715*wide**3))
        active = 0.5*wide*(1 + bent)
        kept.append((w, normal, norm1, q, k, v, odds, mixed, normal2, norm2, wide, bent, active))
        x = middle + active @ w["fcprojw"].T + w["fcprojb"]
    last, norm = _norm(x, p["lnfw"], p["lnfb"])
    logits = last @ p["wte"].T
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    loss = -np.take_along_axis(logs, targets[..., None], -1).mean()
    kept.append((last, norm, logs))
    return float(loss), logits, kept


def backward(p: Arrays, tokens: Array, targets: Array, kept: list[Any]) -> Arrays:
    """The gradient of the loss by every parameter."""
    g = {n: np.zeros_like(a) for n, a in p.items()}
    *layers, (last, norm, logs) = kept
    dlogits = np.exp(logs)
    np.put_along_axis(dlogits, targets[..., None], np.take_along_axis(dlogits, targets[..., None], -1) - 1, -1)
    dlast, g["wte"], _ = _linear_back(dlogits/targets.size, last, p["wte"])
    dx, g["lnfw"], g["lnfb"] = _norm_back(dlast, p["lnfw"], norm)
    for n in reversed(range(len(layers))):
        w, normal, norm1, q, k, v, odds, mixed, normal2, norm2, wide, bent, active = layers[n]
        dactive, g["fcprojw"][n], g["fcprojb"][n] = _linear_back(dx, active, w["fcprojw"])
        slope = 0.5*(1 + bent) + 0.5*wide*(1 - bent**2)*ROOT*(1 + 3*0.044715*wide**2)
        dnormal2, g["fcw"][n], g["fcb"][n] = _linear_back(dactive*slope, normal2, w["fcw"])
        dmiddle, g["ln2w"][n], g["ln2b"][n] = _norm_back(dnormal2, w["ln2w"], norm2)
        dmiddle = dmiddle + dx
        dmixed, g["attprojw"][n], g["attprojb"][n] = _linear_back(dmiddle, mixed, w["attprojw"])
        dmixed = _heads(dmixed, q.shape[1])
        dodds = dmixed @ v.swapaxes(-1, -2)
        dscores = odds*(dodds - (dodds*odds).sum(-1, keepdims=True))/math.sqrt(q.shape[-1])
        parts = dscores @ k, dscores.swapaxes(-1, -2) @ q, odds.swapaxes(-1, -2) @ dmixed
        dqkv = np.concatenate([_joined(part) for part in parts], -1)
        dnormal, g["qkvw"][n], g["qkvb"][n] = _linear_back(dqkv, normal, w["qkvw"])
        dinput, g["ln1w"][n], g["ln1b"][n] = _norm_back(dnormal, w["ln1w"], norm1)
        dx = dmiddle + dinput
    np.add.at(g["wte"], tokens, dx)
    g["wpe"][:tokens.shape[1]] = dx.sum(0)
    return g


class AdamW:
    """The optimiser of the example: beta 0.9 and 0.99; matrices decay, vectors do not."""

    def __init__(self, p: Arrays, rate: float, decay: float) -> None:
        self.rate, self.decay, self.step = rate, decay, 0
        self.m, self.v = ({n: np.zeros_like(a) for n, a in p.items()} for _ in range(2))

    def update(self, p: Arrays, g: Arrays) -> None:
        self.step += 1
        for n, w in p.items():
            self.m[n] = 0.9*self.m[n] + 0.1*g[n]
            self.v[n] = 0.99*self.v[n] + 0.01*g[n]**2
            first, second = self.m[n]/(1 - 0.9**self.step), self.v[n]/(1 - 0.99**self.step)
            decay = self.decay if n in ("wte", "wpe", "qkvw", "attprojw", "fcw", "fcprojw") else 0.0
            p[n] = w - self.rate*(first/(np.sqrt(second) + 1e-8) + decay*w)


def parameters(rng: np.random.Generator, L: int, C: int, V: int, maxT: int) -> Arrays:
    """Random parameters, large enough that every gradient matters."""
    shapes = {"wte": (V, C), "wpe": (maxT, C), "ln1w": (L, C), "ln1b": (L, C), "qkvw": (L, 3*C, C), "qkvb": (L, 3*C),
              "attprojw": (L, C, C), "attprojb": (L, C), "ln2w": (L, C), "ln2b": (L, C), "fcw": (L, 4*C, C),
              "fcb": (L, 4*C), "fcprojw": (L, C, 4*C), "fcprojb": (L, C), "lnfw": (C,), "lnfb": (C,)}
    found = {n: rng.normal(0, 0.2, s) for n, s in shapes.items()}
    return {n: 1 + a if n in ("ln1w", "ln2w", "lnfw") else a for n, a in found.items()}


def write(path: Path, sizes: tuple[int, ...], seed: int = 0) -> None:
    """A reference file with sizes L, H, C, V, T, B, maxT."""
    L, H, C, V, T, B, maxT = sizes
    rng = np.random.default_rng(seed)
    p = parameters(rng, L, C, V, maxT)
    tokens, targets = (rng.integers(0, V, (B, T)).astype(np.int32) for _ in range(2))
    loss, logits, kept = forward(p, H, tokens, targets)
    arrays = {**{f"param/{n}": a for n, a in p.items()},
              **{f"grad/{n}": a for n, a in backward(p, tokens, targets, kept).items()},
              "tokens": tokens, "targets": targets, "logits": logits, "loss": np.array(loss),
              "config": np.array(sizes, np.int64)}
    np.savez(path, **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a reference file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--sizes", default="2,2,16,37,9,3,12", help="L,H,C,V,T,B,maxT")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.file, tuple(int(n) for n in options.sizes.split(",")), options.seed)
