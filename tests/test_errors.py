"""What users do wrong: one clear error that names their line or their path, and nothing half-written."""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import graphnet as gn
from codegen.errors import CodegenError
from graphnet.cli import emit, main
from graphnet.data import batches, mnist
from graphnet.files import replacing
from graphnet.show import draw
from graphnet.training import Trainer

ROOT = Path(__file__).parent.parent
IMAGES, LABELS = np.zeros((4, 1, 28, 28), np.float32), np.zeros(4, np.int32)


def at(marker: str) -> str:
    """` (at file:line)` of the line of this file that ends with that comment."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"  # {marker}")]
    return f" (at {__file__}:{number})"


def error(wrong: Callable[[], object], kind: type[Exception] = gn.GraphnetError) -> str:
    with pytest.raises(kind) as caught:
        wrong()
    message = str(caught.value)
    assert "\n" not in message
    return message


# ----------------------------------------------------------------------------- calling a function


@pytest.fixture(scope="module")
def step() -> gn.Function:
    x = gn.input("x", ("N", 1, 28, 28))  # images
    y = gn.input("y", ("N",), dtype="int32")  # labels
    w = gn.parameter("w", (784, 10), init=gn.init.zeros())
    loss = gn.cross_entropy(gn.flatten(x) @ w, y)
    return gn.compile([loss], inputs=[x, y], updates=gn.optim.sgd([w], gn.gradient(loss, [w]), learning_rate=0.1))


def test_arguments_that_do_not_fit_name_the_declaration(step: gn.Function) -> None:
    wrong = [
        (IMAGES[0], LABELS, "'x' is float32[N, 1, 28, 28], of rank 4; given float32[1, 28, 28]", "images"),
        (IMAGES.astype(np.float64), LABELS, "given array float64; convert it, as in array.astype('float32')", "images"),
        (IMAGES, LABELS.astype(np.int64), "'y' is int32[N], the given array int64; convert it", "labels"),
        (IMAGES, LABELS[:3], "N is 4 in input 'x' but 3 on axis 0 of input 'y'", "labels"),
        (IMAGES[:, :, 1:], LABELS, "expected [4, 1, 28, 28], given [4, 1, 27, 28]", "images"),
        ("a photo", LABELS, "'x' is float32[N, 1, 28, 28], the given array <U7", "images"),
    ]  # fmt: skip
    for images, labels, said, line in wrong:
        message = error(lambda images=images, labels=labels: step(images, labels))
        assert said in message and message.endswith(at(line)), message


def test_calls_that_do_not_fit_name_the_call(step: gn.Function) -> None:
    message = error(lambda: step(IMAGES))  # too few
    assert message == "missing inputs: y" + at("too few")
    message = error(lambda: step(IMAGES, LABELS, 1))  # too many
    assert message == "the function takes 2 inputs (x, y), not 3" + at("too many")
    message = error(lambda: step(IMAGES, labels=LABELS))  # misnamed
    assert message == "'labels' is not an input; the inputs are x, y" + at("misnamed")
    message = error(lambda: step(IMAGES[:0], LABELS[:0]), gn.ShapeError)  # nothing
    assert message == "N is 0; a size is an integer from 1" + at("nothing")
    message = error(lambda: step.specialise({}))  # no sizes
    assert message == "sizes of N are needed, as in specialise({'N': 64})" + at("no sizes")


def test_a_call_that_fails_changes_nothing(step: gn.Function) -> None:
    step(IMAGES, LABELS)
    before = step.state["w"].copy()
    error(lambda: step(IMAGES, LABELS[:3]))
    assert (step.state["w"] == before).all()


# ------------------------------------------------------------------------------- declaring a graph


def test_what_cannot_be_updated_names_the_line() -> None:
    x = gn.input("x", (3,))
    w = gn.parameter("w", (3,))
    message = error(lambda: gn.compile(w * x, [x], updates={x: x}))  # input
    assert message.startswith("updates: <x : float32[3]>") and message.endswith(at("input"))
    assert "only gn.parameter nodes can be updated" in message
    message = error(lambda: gn.compile(w * x, [x], updates={"w": w}))  # name
    assert message == "updates: 'w' is not a parameter; only gn.parameter nodes can be updated" + at("name")
    message = error(lambda: gn.compile(w * x, [x], updates={w: 0.5}))  # number
    assert message == "updates: the new value of parameter 'w' is 0.5, which is no graph node" + at("number")
    total = gn.sum(w * x)  # total
    message = error(lambda: gn.compile(w * x, [x], updates={w: total}), gn.ShapeError)
    assert message == "updates: parameter w is float32[3], its new value float32[]" + at("total")


def test_inputs_that_are_not_listed_name_the_declaration() -> None:
    x = gn.input("x", (3,))  # declared
    assert error(lambda: gn.compile(x * 2)) == "input 'x' is needed but not in inputs=[...]" + at("declared")


def test_layers_without_output_name_the_line() -> None:
    x = gn.input("x", ("N", 1, 3, 3))
    k = gn.parameter("k", (2, 1, 5, 5))
    message = error(lambda: gn.conv2d(x, k), gn.ShapeError)  # convolution
    assert "a 5x5 window does not fit the 3x3 input" in message and message.endswith(at("convolution"))
    message = error(lambda: gn.max_pool2d(gn.max_pool2d(x, 2), 2), gn.ShapeError)  # pooling
    assert "a 2x2 window does not fit the 1x1 input" in message and message.endswith(at("pooling"))


def test_shapes_and_dtypes_that_do_not_fit_name_the_line() -> None:
    x, y = gn.input("x", ("N", 4)), gn.input("y", ("N",), dtype="int32")
    w = gn.parameter("w", (5, 2))
    message = error(lambda: x @ w, gn.ShapeError)  # product
    assert "4 columns" in message and "5 rows" in message and message.endswith(at("product"))
    message = error(lambda: x[:, 0] + y, gn.DTypeError)  # sum
    assert "float32 and int32" in message and message.endswith(at("sum"))


def test_targets_that_do_not_exist_are_refused_at_once() -> None:
    x = gn.input("x", (3,))

    def message(target: str, checks: tuple[str, ...] = (), kind: type[Exception] = gn.GraphnetError) -> str:
        return error(lambda: gn.compile(x * 2, [x], target=target, checks=checks), kind)

    assert message("gpu").startswith("unknown target 'gpu'; there are cpu, emulator, cuda, interpret")
    assert "this CPU has no 'neon9'" in message("cpu:neon9", kind=CodegenError)
    assert "emulator has no options" in message("emulator:sm_80")
    assert "there are sm_80" in message("cuda:sm_1")
    assert "need target=\"emulator\", not 'cpu'" in message("cpu", ("bounds",))
    assert "unknown checks ['leaks']" in message("emulator", ("leaks",))


# ---------------------------------------------------------------------------------- files, from Python


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Path]:
    """A path that nobody can write, the superuser included: a file stands where its folder should be."""
    (tmp_path / "file").write_text("mine")
    yield tmp_path / "file" / "output"
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MNIST's four files, one of them cut short, as an interrupted download leaves it."""
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((9, 28, 28))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(9)))
    cut = tmp_path / "t10k-images-idx3-ubyte"
    cut.write_bytes(cut.read_bytes()[:5000])
    return tmp_path


def test_data_that_is_missing_or_damaged_names_the_path(folder: Path) -> None:
    absent = folder / "absent"
    assert error(lambda: mnist(absent), gn.DataError).startswith(f"{absent}: expected a folder")
    cut = folder / "t10k-images-idx3-ubyte"
    assert error(lambda: mnist(folder), gn.DataError) == f"{cut}: 5000 bytes, expected 7072 for 9x28x28"
    cut.write_bytes(gzip.compress(idx(np.zeros((9, 28, 28))))[:-20])
    assert error(lambda: mnist(folder), gn.DataError).startswith(f"{cut}: cannot be read")
    cut.unlink()
    assert error(lambda: mnist(folder), gn.DataError).startswith(f"{folder}: no file t10k-images-idx3-ubyte.gz; found")
    assert "a batch holds at least one" in error(lambda: next(batches(IMAGES, LABELS, 0)), gn.DataError)


def test_outputs_that_cannot_be_written_name_the_path(step: gn.Function, blocked: Path) -> None:
    with pytest.raises(OSError) as caught, replacing(blocked) as temporary:
        temporary.write_text("never")
    assert caught.value.filename == str(blocked)
    assert str(blocked.with_suffix(".dot")) in error(lambda: draw(step).save(blocked.with_suffix(".dot")))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"] and path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"] and path.read_text() == "new"
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        pass
    link = tmp_path / "link"
    link.symlink_to(path)
    with replacing(link) as temporary:
        temporary.write_text("newer")
    assert link.is_symlink() and path.read_text() == "newer"


# --------------------------------------------------------------------------------- the command line


def failure(capsys: pytest.CaptureFixture[str], *words: object, code: int = 1) -> str:
    """The one line that a command says before it ends with an error."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and err.startswith("graphnet: error: ") and err.count("\n") == 1, err
    assert "--json" not in words or out == ""
    return err.removeprefix("graphnet: error: ").strip()


def test_command_lines_that_cannot_be_understood(capsys: pytest.CaptureFixture[str]) -> None:
    def usage(line: str) -> str:
        return failure(capsys, *line.split(), code=2)

    assert usage("trian lenet").startswith("argument COMMAND: invalid choice: 'trian'")
    assert usage("train resnet").startswith("argument model: invalid choice: 'resnet'")
    assert usage("train") == "the following arguments are required: model (see graphnet train --help)"
    assert "--epochs: must be at least 1, not 0" in usage("train lenet --epochs 0")
    assert "--batch: must be an integer, not 'many'" in usage("train lenet --batch many")
    assert "--learning-rate: must be a finite number above 0, not nan" in usage("train lenet --learning-rate nan")
    assert "--seed: must be from 0" in usage("train lenet --seed -1")
    assert usage("train lenet --data mnist") == "--data mnist needs --data-dir DIR, the folder with MNIST's files"
    assert usage("train lenet --data-dir here").startswith("--data-dir is for --data mnist")
    assert usage("emit lenet --output there --arch sm_90") == "--arch is for --target cuda"
    assert "code is emitted for cpu and cuda, not 'emulator'" in usage("emit lenet --output there --target emulator")
    assert "unknown peer 'caffe'; there are torch, torch.compile, jax, " in usage("bench lenet --against caffe")
    assert not Path("there").exists()


def test_data_that_is_missing_or_damaged(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    start = ("train", "lenet", "--json", "--data", "mnist", "--data-dir")
    assert failure(capsys, *start, folder / "absent").startswith(f"{folder / 'absent'}: expected a folder")
    said = failure(capsys, *start, folder)
    assert said == f"{folder / 't10k-images-idx3-ubyte'}: 5000 bytes, expected 7072 for 9x28x28"


def test_targets_and_checks_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(capsys, "train", "lenet", "--target", "gpu").startswith("unknown target 'gpu'; there are cpu")
    said = failure(capsys, "train", "lenet", "--checks", "bounds")
    assert said == "checks=('bounds',) need target=\"emulator\", not 'cpu'"
    assert "unknown target 'interpret:x'" in failure(capsys, "explain", "mlp", "--target", "interpret:x")


@pytest.mark.parametrize(
    "line",
    ["train mlp --save", "draw mlp --output", "emit mlp --output", "emit mlp --target cuda --output"],
)
def test_outputs_that_cannot_be_written(capsys: pytest.CaptureFixture[str], blocked: Path, line: str) -> None:
    path = blocked.with_suffix(".dot" if line.startswith("draw") else "")
    assert str(path) in failure(capsys, *line.split(), path)


def test_a_training_that_fails_leaves_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rate = ("--optimizer", "sgd", "--learning-rate", "1e6")
    assert "a smaller learning rate may help" in failure(
        capsys, "train", "mlp", *rate, "--json", "--save", tmp_path / "w.npz"
    )
    assert not list(tmp_path.iterdir())


def test_an_emission_that_fails_leaves_the_folder_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    words = ("emit", "mlp", "--mode", "infer", "--target", "cuda", "--output", folder)

    def refuse(*_: object) -> list[str]:
        raise CodegenError("kernel k1_matmul: LLVM refused its IR\nfor many reasons")

    with monkeypatch.context() as m:
        m.setattr(emit, "emit_all_ptx", refuse)
        assert failure(capsys, *words) == "kernel k1_matmul: LLVM refused its IR for many reasons"
        assert not list(tmp_path.iterdir())
    assert main([str(w) for w in words]) == 0
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr(emit, "emit_all_ptx", refuse)
    failure(capsys, *words)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_nobody_foresaw_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")

    def fail(kind: BaseException) -> Callable[..., None]:
        def fit(*_: object, **__: object) -> None:
            raise kind

        return fit

    words = ("train", "mlp", "--save", tmp_path / "w.npz")
    monkeypatch.setattr(Trainer, "fit", fail(KeyboardInterrupt()))
    assert failure(capsys, *words, code=130) == "interrupted"
    monkeypatch.setattr(Trainer, "fit", fail(MemoryError()))
    assert failure(capsys, *words) == "there is not enough memory; a smaller --batch needs less"
    monkeypatch.setattr(Trainer, "fit", fail(ZeroDivisionError("by zero")))
    said = failure(capsys, *words)
    assert said == "internal error, please report it: ZeroDivisionError: by zero (--debug shows where)"
    assert not list(tmp_path.iterdir())
    assert main([str(w) for w in (*words, "--debug")]) == 1
    assert "Traceback" in capsys.readouterr().err


def run(*words: object, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "graphnet.cli", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, text=True, check=False, stderr=subprocess.PIPE, **settings)  # type: ignore[call-overload,no-any-return]


def test_the_process_ends_with_the_code(tmp_path: Path) -> None:
    done = run("train", "lenet", "--data", "mnist", "--data-dir", tmp_path / "absent", stdout=subprocess.PIPE)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert re.match(r"graphnet: error: \S*absent: expected a folder", done.stderr)
    assert run("train", "lenet", "--epochs", "x", stdout=subprocess.PIPE).returncode == 2


def test_outputs_that_nobody_takes() -> None:
    """A full disk is an error; a pipe that was closed, as by `head`, is none to speak of."""
    words = ("explain", "mlp", "--mode", "infer", "--batch", "1", "--steps", "1", "--json")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = run(*words, stdout=full)
        assert done.returncode == 1 and done.stderr == "graphnet: error: No space left on device\n"
    true = shutil.which("true")
    if true:
        reader = subprocess.Popen([true], stdin=subprocess.PIPE)
        reader.wait()
        assert reader.stdin is not None
        done = run(*words, stdout=reader.stdin)
        assert done.returncode == 141 and done.stderr == ""
        reader.stdin.close()
