"""Train a small character model on any text with generated kernels only.

    python examples/gpt2/train.py --text FILE --steps 300 --checkpoint model.npz --sample 200
    python examples/gpt2/train.py --text FILE --steps 600 --checkpoint model.npz --resume

On a terminal it shows a progress bar with the loss; in a pipe, a line `step N loss X.XXXX` every 10 steps and at the
last. A resumed run goes on to the same bits as one that was never interrupted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoint
import click
import numpy as np
from model import GPT2, Config, ModelError
from operations import Emitted

from derive.emulator import EmulatorError
from derive.errors import DeriveError

Array = np.ndarray[Any, Any]


@click.command(context_settings={"show_default": True})
@click.option("--text", "path", type=click.Path(path_type=Path), required=True, help="The text to learn.")
@click.option("--steps", type=click.IntRange(min=0), required=True, help="The step to train to.")
@click.option("--checkpoint", "saved", type=click.Path(path_type=Path), help="Save here, at the end and "
              "every --save-every steps.")
@click.option("--save-every", type=click.IntRange(min=1), default=100)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint; its sizes and settings are used.")
@click.option("--sample", "length", type=click.IntRange(min=0), default=0, help="Write so many characters at the end.")
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), default=0.8, help="Of the sample.")
@click.option("--seed", type=click.IntRange(min=0), default=1)
@click.option("--layers", type=click.IntRange(min=1), default=2)
@click.option("--heads", type=click.IntRange(min=1), default=4)
@click.option("--channels", type=click.IntRange(min=1), default=64)
@click.option("--context", type=click.IntRange(min=1), default=64, help="Characters in a sequence.")
@click.option("--batch", type=click.IntRange(min=1), default=8, help="Sequences in a step.")
@click.option("--rate", type=float, default=3e-3, help="Learning rate.")
@click.option("--decay", type=float, default=0.1, help="Weight decay of the matrices.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option("--executor", type=click.Choice(["auto", "cupy", "emulator"]), default="auto")
@click.option("--every", type=click.IntRange(min=1), default=10, help="Steps from one line to the next, in a pipe.")
def main(path: Path, steps: int, saved: Path | None, save_every: int, resume: bool, length: int, temperature: float,
         seed: int, layers: int, heads: int, channels: int, context: int, batch: int, rate: float, decay: float,
         dtype: str, executor: str, every: int) -> None:
    """Train a GPT-2 on the characters of a text."""
    try:
        text = read(path)
        if saved is not None and not os.access(saved.parent, os.W_OK):
            raise ModelError(f"no checkpoint can be written into {saved.parent}")
        if saved is not None and saved.is_dir():
            raise ModelError(f"{saved} is a folder, not a checkpoint")
        if resume:
            if saved is None:
                raise ModelError("--resume needs --checkpoint FILE")
            model, alphabet, settings = resumed(saved, executor)
        else:
            alphabet = "".join(sorted(set(text)))
            settings = {"dtype": dtype, "seed": seed, "batch": batch, "rate": rate, "decay": decay}
            config = Config(layers, heads, channels, len(alphabet), context)
            model = GPT2(config, initial(config, seed), dtype, executor)
        data = encode(text, alphabet)
        if len(data) <= model.config.maxT:
            raise ModelError(f"the text has {len(data)} characters; a sequence and its next one need "
                             f"{model.config.maxT + 1}: give a longer text or a smaller --context")
        softmax = Emitted("sample", str(model.dtype), model.cp, differentiable=False) if length else None
        with shown(model.step, steps, every) as show:
            for loss in losses(model, data, steps, settings):
                show(model.step, loss)
                if saved is not None and model.step % save_every == 0 and model.step < steps:
                    checkpoint.save(saved, model, alphabet, settings)
        if saved is not None:
            checkpoint.save(saved, model, alphabet, settings)
        if softmax is not None:
            prompt = data[:model.config.maxT].tolist()
            drawn = sample(model, softmax, prompt, length, temperature, settings["seed"])
            click.echo("".join(alphabet[n] for n in drawn))
    except KeyboardInterrupt:
        click.echo("interrupted" + (f"; --resume goes on from {saved}" if saved and saved.exists() else ""), err=True)
        sys.exit(130)
    except (ModelError, DeriveError, EmulatorError) as e:
        click.echo(f"error: {e}", err=True)
        sys.exit(2)


def read(path: Path) -> str:
    """The text of a file.

    Raises:
        ModelError: it cannot be read, or is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise ModelError(f"cannot read {path}: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise ModelError(f"{path} is no UTF-8 text: byte {e.start} is {e.object[e.start]:#04x}") from None
    if not text:
        raise ModelError(f"{path} is empty")
    return text


def encode(text: str, alphabet: str) -> Array:
    """The tokens of a text."""
    number = {c: n for n, c in enumerate(alphabet)}
    strange = sorted(set(text) - set(number))
    if strange:
        raise ModelError("the checkpoint was trained without the characters " + " ".join(map(repr, strange[:10])))
    return np.array([number[c] for c in text], np.int32)


def initial(config: Config, seed: int) -> dict[str, Array]:
    """Parameters as GPT-2 starts: normal, 0.02 wide, narrower where a block adds to its input."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in config.shapes().items():
        if name in ("ln1w", "ln2w", "lnfw"):
            found[name] = np.ones(shape)
        elif name.endswith("b"):
            found[name] = np.zeros(shape)
        else:
            width = 0.02/np.sqrt(2*config.L) if name in ("attprojw", "fcprojw") else 0.02
            found[name] = rng.normal(0, width, shape)
    return found


def batch_of(data: Array, step: int, seed: int, batch: int, context: int) -> tuple[Array, Array]:
    """Tokens and targets of a step: a function of the seed and the step, so that a resumed run sees the same."""
    starts = np.random.default_rng((seed, step)).integers(0, len(data) - context, batch)
    rows = starts[:, None] + np.arange(context)
    return data[rows], data[rows + 1]


def losses(model: GPT2, data: Array, steps: int, settings: dict[str, Any]) -> Iterator[float]:
    """Train to step `steps`; the loss of each step."""
    while model.step < steps:
        tokens, targets = batch_of(data, model.step, settings["seed"], settings["batch"], model.config.maxT)
        _, loss = model.forward(model.cp.asarray(tokens), model.cp.asarray(targets))
        model.backward()
        model.update(settings["rate"], settings["decay"])
        yield float(loss)


@contextlib.contextmanager
def shown(first: int, last: int, every: int) -> Iterator[Any]:
    """Something to call with each step and its loss: a bar on a terminal, lines elsewhere."""
    if not sys.stdout.isatty():
        def line(step: int, loss: float) -> None:
            if step % every == 0 or step == last:
                click.echo(f"step {step} loss {loss:.4f}")
        yield line
        return
    wanted: Any = click.progressbar(length=max(last - first, 0), label="training", show_pos=True,
                                    item_show_func=lambda loss: "" if loss is None else f"loss {loss:.4f}")
    with wanted as bar:
        yield lambda step, loss: bar.update(1, loss)


def resumed(path: Path, executor: str) -> tuple[GPT2, str, dict[str, Any]]:
    """The model where a checkpoint left it, its alphabet and its settings."""
    found = checkpoint.load(path)
    try:
        model = GPT2(found.config, found.group("param"), found.settings["dtype"], executor)
        model.moments = [model.flatten(found.group(kind)) for kind in "mv"]
    except ModelError as e:
        raise ModelError(f"{path}: {e}") from None
    model.step = found.step
    return model, found.alphabet, found.settings


def sample(model: GPT2, softmax: Emitted, prompt: list[int], length: int, temperature: float, seed: int) -> list[int]:
    """Tokens drawn one by one from what the model expects after a prompt."""
    rng, cp, tokens = np.random.default_rng((seed, model.step, length)), model.cp, list(prompt)
    heat = cp.asarray(np.full((), temperature, model.dtype))
    for _ in range(length):
        window = np.array([tokens[-model.config.maxT:]], np.int32)
        logits, _ = model.forward(cp.asarray(window))
        expected = softmax.forward({"logits": logits[0, -1], "temperature": heat})["P"]
        odds = np.cumsum(cp.asnumpy(expected), dtype=np.float64)  # a draw, not part of the model
        tokens.append(min(int(np.searchsorted(odds, rng.random()*odds[-1], side="right")), model.config.V - 1))
    return tokens[-length:]


if __name__ == "__main__":
    main()
