"""`graphnet train`."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from ..data import Dataset, digits, mnist
from ..files import replacing
from ..models import DIGITS
from ..targets import CHECKS, parse_target
from ..training import OPTIMIZERS, SCHEDULES, Epoch, History, Trainer, write_arrays
from .common import (
    UsageError,
    add_batch,
    add_json,
    add_model,
    add_optimizer,
    add_threads,
    count,
    model_of,
    print_json,
    rate,
    seed,
    words,
)

EPOCHS = {"digits": 20, "mnist": 5}  # enough for LeNet's 98%
FIRST_LOSSES = 50  # in the JSON output

DESCRIPTION = """\
Trains a network on handwritten digits and prints how many images that it has never seen it recognises.

Without options it learns the 1797 digits that come with scikit-learn (pip install 'graphnet[demo]'). Nothing is
downloaded: for MNIST, give the folder with its four files (train-images-idx3-ubyte.gz and so on)."""

EXAMPLES = """\
examples:
  graphnet train lenet
  graphnet train lenet --data mnist --data-dir ~/mnist --epochs 10 --save lenet.npz
  graphnet train mlp --optimizer sgd --learning-rate 0.05 --threads 1
  graphnet train lenet --target emulator --steps 5 --checks bounds,races --batch 8
      five steps of the GPU's kernels, emulated on the CPU, every memory access watched

The same seed gives the same losses, bit for bit, with any number of threads."""


def declare(p: argparse.ArgumentParser) -> None:
    add_model(p)
    p.add_argument("--data", choices=EPOCHS, default="digits", help="what to learn (default: digits)")
    p.add_argument("--data-dir", metavar="DIR", help="the folder of MNIST's files, for --data mnist")
    defaults = ", ".join(f"{n} for {data}" for data, n in EPOCHS.items())
    p.add_argument("--epochs", type=count, metavar="N", help=f"passes over the data (default: {defaults})")
    add_batch(p)
    add_optimizer(p)
    rates = ", ".join(f"{o.learning_rate:g} for {name}" for name, o in OPTIMIZERS.items())
    p.add_argument("--learning-rate", type=rate, metavar="RATE", help=f"the size of updates (default: {rates})")
    p.add_argument("--seed", type=seed, default=0, metavar="N", help="of first weights and order (default: 0)")
    p.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="step",
        help="of the learning rate: constant, or with a tenth of it in the last third of the epochs (default: step)",
    )
    add_threads(p)
    p.add_argument(
        "--target",
        default="cpu",
        help="cpu (default), cpu:avx2, cpu:simd128, emulator, cuda, cuda:sm_90, interpret (very slow)",
    )
    p.add_argument("--steps", type=count, metavar="N", help="stop after N steps")
    p.add_argument(
        "--checks",
        type=words,
        default=(),
        metavar="CHECK,...",
        help=f"{','.join(CHECKS)}: what to watch with --target emulator",
    )
    p.add_argument("--save", metavar="FILE.npz", help="write the weights, and the optimizer's state, to a NumPy file")
    add_json(p)


def run(a: argparse.Namespace) -> None:
    if a.model not in DIGITS:
        raise UsageError(f"there is no data set for {a.model} here: the digits are for {' and '.join(DIGITS)}")
    parse_target(a.target, a.checks)
    model = model_of(a)
    with ExitStack() as stack:
        # Entered before the work, so that a place that cannot be written is known before the training.
        output = stack.enter_context(replacing(a.save)) if a.save else None
        data = load(a.data, a.data_dir)
        trainer = Trainer(
            model, a.optimizer, a.learning_rate, target=a.target, threads=a.threads, seed=a.seed, checks=a.checks
        )
        epochs = a.epochs or EPOCHS[a.data]
        if not a.json:
            weights = sum(trainer.state.array(p).size for p in model.params.values())
            print(
                f"{a.model}: {weights:,} weights; {a.data}: {len(data.train_labels):,} images to learn, "
                f"{len(data.test_labels):,} held out; {trainer.step.target}, {_threads(trainer.step.threads)}"
            )
        history = fit(trainer, data, epochs, a)
        if output is not None:
            write_arrays(output, trainer.values())
    if a.json:
        print_json(report(a, epochs, trainer, history))
    else:
        print(summary(history, len(data.test_labels)) + (f"\nwrote {a.save}" if a.save else ""))


def load(name: str, folder: str | None) -> Dataset:
    if name == "digits":
        if folder is not None:
            raise UsageError("--data-dir is for --data mnist; the digits come with scikit-learn")
        return digits()
    if folder is None:
        raise UsageError("--data mnist needs --data-dir DIR, the folder with MNIST's files")
    return mnist(folder)


def fit(trainer: Trainer, data: Dataset, epochs: int, a: argparse.Namespace) -> History:
    """Trains, with a progress bar on terminals and, except with --json, a line an epoch."""
    total = epochs * -(-len(data.train_labels) // a.batch)
    total = total if a.steps is None else min(total, a.steps)
    # disable=None: no bar unless stderr is a terminal.
    with tqdm(total=total, unit="step", desc="compiling", leave=False, disable=None, file=sys.stderr) as bar:

        def on_step(step: int, loss: float) -> None:
            if step == 1:
                bar.set_description("training", refresh=False)
            bar.update()

        def on_epoch(e: Epoch) -> None:
            if not a.json:
                line = f"epoch {e.number:>{len(str(epochs))}}/{epochs}  loss {e.loss:.4f}  accuracy {e.accuracy:.2%}"
                bar.write(f"{line}  {e.seconds:.2f} s", file=sys.stdout)

        return trainer.fit(
            data, epochs, a.batch, steps=a.steps, schedule=a.schedule, on_step=on_step, on_epoch=on_epoch
        )


def summary(h: History, held_out: int) -> str:
    right = round(h.accuracy * held_out)
    then = f"; then {1e3 * h.seconds_step:.2f} ms a step" if h.seconds_step is not None else ""
    return (
        f"{len(h.losses)} steps in {h.seconds:.1f} s; the first, with compilation, {h.seconds_first_step:.2f} s{then}\n"
        f"test accuracy {h.accuracy:.2%}: {right:,} of {held_out:,} images never seen before"
    )


def report(a: argparse.Namespace, epochs: int, trainer: Trainer, h: History) -> dict[str, Any]:
    """What --json prints. Times are in seconds where the name does not say otherwise."""
    return {
        "model": a.model,
        "data": a.data,
        "epochs": epochs,
        "batch": a.batch,
        "optimizer": a.optimizer,
        "learning_rate": trainer.learning_rate,
        "schedule": a.schedule,
        "seed": a.seed,
        "threads": trainer.step.threads,
        "target": str(trainer.step.target),
        "steps": len(h.losses),
        "losses_first": h.losses[:FIRST_LOSSES],
        "loss_last_epoch": h.epochs[-1].loss,
        "test_accuracy": h.accuracy,
        "test_accuracies": [e.accuracy for e in h.epochs],
        "seconds": h.seconds,
        "seconds_first_step": h.seconds_first_step,
        "milliseconds_step": None if h.seconds_step is None else 1e3 * h.seconds_step,
        "specializations": [
            {"sizes": s.sizes, "kernels": s.steps, "seconds": sum(s.seconds.values())}
            for s in trainer.step.specializations
        ],
    }


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"
