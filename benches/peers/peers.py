"""`make bench-engine`: our engine beside LightGBM, ONNX Runtime and lleaves, on one core.

Trains three models on the flights (with the code of examples/flights), and scores December with
each, batch after batch. Every round measures all engines one after another, so that what the
machine does meanwhile meets all of them; a ratio is the median of the rounds' own ratios. All
times are CPU times of the whole process, so other programs on the core count for nothing.

Ours is a child process (ours.rs) that measures itself; the others run in this one, called as
their users call them, each with the layout and type of matrix that it need not convert.
Whatever takes long, the environment, the models and what is compiled of them, is kept in a folder
outside the repository, and made anew when requirements.txt or this file's models change.
"""

import argparse
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLIGHTS = ROOT / "examples" / "flights"
MODELS = [(100, 31), (500, 63), (1000, 255)]
BATCHES = [1, 64, 1024, 8192]
ROWS = 3 * max(BATCHES)
# lleaves takes tens of minutes over it.
SLOW_TO_COMPILE = "1000x255"
PEERS = ["LightGBM", "ONNX Runtime", "lleaves"]
# What we mean to reach at batches of 1,024 and more, with AVX2: ours / theirs.
GOALS = {
    "100x31": {"LightGBM": 0.08, "ONNX Runtime": 0.1, "lleaves": 0.45},
    "500x63": {"LightGBM": 0.08, "ONNX Runtime": 0.1, "lleaves": 0.5},
}


class Engine(NamedTuple):
    name: str
    load_seconds: float
    time: Callable[[int, int], float]  # batch, calls -> ns a row


# --- the environment -------------------------------------------------------------------------------


def enter_environment(cache: Path) -> None:
    """Makes the environment if there is none yet, and starts this program again inside it."""
    wanted = hashlib.sha256((HERE / "requirements.txt").read_bytes()).hexdigest()[:12]
    folder = cache / f"venv-{platform.python_version()}-{wanted}"
    if Path(sys.prefix) == folder:
        return
    if not (folder / "complete").exists():
        say(f"installing the peers (about 1 GB, once) into {folder}")
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--requirement", HERE / "requirements.txt"], check=True)
        (folder / "complete").touch()
    os.execv(folder / "bin" / "python", [str(folder / "bin" / "python"), "-B", *sys.argv])


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def build() -> Path:
    cargo = ["cargo", "bench", "--locked", "--bench", "peers", "--no-run", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(cargo, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    built = (json.loads(line) for line in done.stdout.splitlines())
    # The program itself is built along, for tests that start it.
    return next(Path(one["executable"]) for one in built if one.get("target", {}).get("kind") == ["bench"])


# --- models and rows -------------------------------------------------------------------------------


def recipe() -> str:
    """What the kept models depend on."""
    parts = [(HERE / "requirements.txt").read_bytes(), (FLIGHTS / "train.py").read_bytes(), repr((MODELS, ROWS)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def prepare(folder: Path) -> None:
    """TREESxLEAVES.txt and rows.npy, from the year's flights and train.py's contract."""
    if (folder / "complete").exists():
        return
    sys.path.insert(0, str(FLIGHTS))
    import lightgbm
    import numpy as np
    import train

    say("reading the flights (once, half a minute)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known = train.clean(train.load())
    plan = train.PLANS[-1]
    history = train.between(known, plan.start, plan.split)
    contract = train.contract(history)
    x, late = train.design(history, contract)
    december, _ = train.design(train.between(known, "2013-12-01", "2014-01-01")[:ROWS], contract)
    np.save(folder / "rows.npy", np.ascontiguousarray(december, np.float64))
    for trees, leaves in MODELS:
        say(f"training {trees}x{leaves}")
        data = lightgbm.Dataset(
            x,
            late,
            feature_name=[feature["name"] for feature in contract],
            categorical_feature=[i for i, feature in enumerate(contract) if "category" in feature["kind"]],
        )
        booster = lightgbm.train(train.PARAMETERS | {"num_leaves": leaves}, data, trees)
        found = [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]
        if found != [leaves] * trees:
            sys.exit(f"{trees} trees of {leaves} leaves were wanted, {len(found)} of {min(found)} and more came")
        booster.save_model(folder / f"{trees}x{leaves}.txt")
    (folder / "complete").touch()


# --- the engines -----------------------------------------------------------------------------------


class Ours:
    """The child process: a line to it, a line from it."""

    def __init__(self, program: Path, model: Path, features: int):
        command = ours_command(program, model, features)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> float:
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"our engine gave no answer to `{line}`")
        return float(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def ours_command(program: Path, model: Path, features: int) -> list[str]:
    return [str(program), str(model), str(model.with_name("rows.f64")), str(features)]


def lightgbm_scorer(model: Path) -> Callable[[Any], Any]:
    import lightgbm

    booster = lightgbm.Booster(model_file=model)
    return lambda x: booster.predict(x, raw_score=True, num_threads=1)


def onnx_scorer(model: Path) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.with_suffix(".onnx"), options, ["CPUExecutionProvider"])
    return lambda x: session.run(["probabilities"], {"x": x})[0][:, 1]


def convert_to_onnx(model: Path, features: int) -> None:
    if model.with_suffix(".onnx").exists():
        return
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    say(f"converting {model.stem} to ONNX (once)")
    kinds = [("x", FloatTensorType([None, features]))]
    converted = convert_lightgbm(lightgbm.Booster(model_file=model), initial_types=kinds, zipmap=False)
    partial = model.with_suffix(".partial")
    partial.write_bytes(converted.SerializeToString())
    partial.rename(model.with_suffix(".onnx"))


def lleaves_scorer(model: Path) -> tuple[Callable[[Any], Any], float]:
    """And the seconds that compiling took, whenever it was."""
    import lleaves

    compiled, seconds = model.with_suffix(".lleaves"), model.with_suffix(".lleaves-seconds")
    lleaf = lleaves.Model(model_file=str(model))
    if not seconds.exists():
        say(f"compiling {model.stem} with lleaves (once, minutes)")
        compiled.unlink(missing_ok=True)
        start = time.process_time()
        lleaf.compile(cache=str(compiled), raw_score=True)
        seconds.write_text(str(time.process_time() - start))
    else:
        lleaf.compile(cache=str(compiled), raw_score=True)
    return lambda x: lleaf.predict(x, n_jobs=1), float(seconds.read_text())


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    made = make()
    return made, time.process_time() - start


def timer(score: Callable[[Any], Any], x: Any) -> Callable[[int, int], float]:
    """`Engine.time` of what scores in this process."""

    def run(batch: int, calls: int) -> float:
        batches = [x[first : first + batch] for first in range(0, len(x), batch)]
        todo = list(itertools.islice(itertools.cycle(batches), calls))
        start = time.process_time_ns()
        for rows in todo:
            score(rows)
        return (time.process_time_ns() - start) / (batch * calls)

    return run


# --- measuring -------------------------------------------------------------------------------------


def engines(ours: Ours, model: Path, x: Any, full: bool) -> list[Engine]:
    """All of them, ours first, after they have agreed."""
    import numpy as np

    loads = [ours.ask("load") for _ in range(5)]
    found = [Engine("foretell", statistics.median(loads), lambda batch, calls: ours.ask(f"time {batch} {calls}"))]
    scores = model.with_suffix(".scores")
    ours.ask(f"scores {scores}")
    own = np.fromfile(scores)

    score, seconds = timed(lambda: lightgbm_scorer(model))
    found.append(Engine("LightGBM", seconds, timer(score, x)))
    if not np.array_equal(own, score(x)):
        sys.exit(f"{model.stem}: our raw scores are not LightGBM's")

    convert_to_onnx(model, x.shape[1])
    score, seconds = timed(lambda: onnx_scorer(model))
    # It takes f32: a value close to a threshold may go the other way.
    single = x.astype(np.float32)
    found.append(Engine("ONNX Runtime", seconds, timer(score, single)))
    same = [difference("ONNX Runtime", 1 / (1 + np.exp(-own)), score(single))]

    if has_lleaves() and (full or model.stem != SLOW_TO_COMPILE):
        score, seconds = lleaves_scorer(model)
        found.append(Engine("lleaves", seconds, timer(score, x)))
        same.append(difference("lleaves", own, score(x)))
    print(f"{model.stem}: foretell = LightGBM bit for bit; {'; '.join(same)}", flush=True)
    return found


def has_lleaves() -> bool:
    try:
        import lleaves  # noqa: F401
    except ImportError:
        return False
    return True


def difference(name: str, ours: Any, theirs: Any) -> str:
    far = abs(ours - theirs) > 1e-5
    if far.mean() > 0.02:
        sys.exit(f"{name} scores something else: {far.sum()} of {len(far)} rows differ")
    return f"{name} differs by more than 1e-5 on {far.sum()} of {len(far)} rows"


class Measured(NamedTuple):
    """Rows of the tables."""

    times: list[list[str]]
    ratios: list[list[str]]
    loads: list[str]


def compare(model: Path, x: Any, arguments: argparse.Namespace) -> Measured:
    ours = Ours(arguments.program, model, x.shape[1])
    found = engines(ours, model, x, arguments.full)
    loads = {engine.name: f"{1000 * engine.load_seconds:,.1f}" for engine in found}
    measured = Measured([], [], row(model.stem, loads, ["foretell", *PEERS]))
    for batch in BATCHES:
        rounds = measure(found, batch, arguments.rounds, arguments.seconds)
        label = f"{model.stem}, batch {batch:,}"
        medians = {engine.name: f"{statistics.median(rounds[engine.name]):,.0f}" for engine in found}
        ratios = {peer: ratio(rounds["foretell"], rounds[peer]) for peer in PEERS if peer in rounds}
        cells = {peer: judged(found, GOALS.get(model.stem, {}).get(peer) if batch >= 1024 else None) for peer, found in ratios.items()}
        measured.times.append(row(label, medians, ["foretell", *PEERS]))
        measured.ratios.append(row(label, cells, PEERS))
        say("  " + "  ".join(measured.times[-1]))
    ours.close()
    return measured


def measure(found: list[Engine], batch: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Of each engine, ns a row in each round."""
    calls = [calls_in(engine, batch, seconds) for engine in found]
    taken: dict[str, list[float]] = {engine.name: [] for engine in found}
    for _ in range(rounds):
        for engine, n in zip(found, calls):
            taken[engine.name].append(engine.time(batch, n))
    return taken


def calls_in(engine: Engine, batch: int, seconds: float) -> int:
    """As many calls as take so long; finding out warms caches up."""
    calls = 1
    while (took := engine.time(batch, calls) * batch * calls / 1e9) < seconds / 8:
        calls *= 4
    return max(1, round(calls * seconds / took))


def instructions(program: Path, model: Path, features: int, batch: int) -> float:
    """A row's: what a longer run has more than a shorter one, so that loading does not count."""
    calls = max(1, 1024 // batch)
    few, more = (collected(ours_command(program, model, features), f"run {batch} {n}") for n in (calls, 3 * calls))
    return (more - few) / (2 * calls * batch)


def collected(command: list[str], line: str) -> int:
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    done = subprocess.run([*valgrind, *command], input=line + "\n", capture_output=True, text=True)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not counted:
        sys.exit(f"valgrind counted nothing:\n{done.stderr}")
    return int(counted[1])


# --- telling ---------------------------------------------------------------------------------------


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text()
    flags = set(re.search(r"^flags\s*:(.*)", text, re.M)[1].split())
    has = [flag for flag in ("avx2", "avx512f", "avx512bw") if flag in flags]
    return f"{re.search(r'model name.*: (.*)', text)[1]}, {os.cpu_count()} cores, {' '.join(has) or 'no avx2'}"


def versions() -> str:
    from importlib import metadata

    names = ["lightgbm", "onnxruntime", "onnxmltools", "lleaves", "llvmlite"]
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    told = [f"{name} {found[name]}" for name in names if name in found]
    return f"Python {platform.python_version()}, {', '.join(told)}"


def row(label: str, cells: dict[str, str], names: list[str]) -> list[str]:
    return [label, *(cells.get(name, "-") for name in names)]


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs))


def judged(found: float, goal: float | None) -> str:
    return f"{found:.3f}" if goal is None else f"{found:.3f} {'<=' if found <= goal else '> '} {goal}"


def show(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    print()
    for label, *cells in [head, *rows]:
        print(f"{label:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:])), sep="  ")
    sys.stdout.flush()


# --- the whole of it -------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    cache = os.environ.get("FORETELL_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "foretell"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, help="the bench `peers` if it is built: cargo is not asked for it")
    parser.add_argument("--cache", type=Path, default=Path(cache) / "peers", help="folder of all that is kept [%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, all engines in each [%(default)s]")
    parser.add_argument("--seconds", type=float, default=0.2, help="of an engine in a round [%(default)s]")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="to be pinned to [%(default)s]")
    parser.add_argument("--full", action="store_true", help=f"lleaves for {SLOW_TO_COMPILE} too: compiles for very long")
    parser.add_argument("--callgrind", action="store_true", help="count instructions too: needs valgrind")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    enter_environment(arguments.cache)
    arguments.program = arguments.program or build()
    folder = arguments.cache / f"models-{recipe()}"
    prepare(folder)
    os.sched_setaffinity(0, {arguments.core})
    # Before anything is timed: loading a model is not importing its library.
    import lightgbm  # noqa: F401
    import numpy as np
    import onnxruntime  # noqa: F401

    x = np.load(folder / "rows.npy")
    x.tofile(folder / "rows.f64")
    models = [folder / f"{trees}x{leaves}.txt" for trees, leaves in MODELS]
    print(f"{machine()}; pinned to core {arguments.core}\n{versions()}\n{len(x)} rows, {x.shape[1]} features", flush=True)
    if not has_lleaves():
        print("without lleaves: its llvmlite has no wheels for this Python; with 3.11 or 3.12 it is there")
    elif not arguments.full:
        print(f"without lleaves for {SLOW_TO_COMPILE}, which it compiles for very long: --full")
    measured = [compare(model, x, arguments) for model in models]
    show(["ns a row", "foretell", *PEERS], [row for one in measured for row in one.times])
    show(["ours / theirs", *PEERS], [row for one in measured for row in one.ratios])
    show(["load or compile, ms", "foretell", *PEERS], [one.loads for one in measured])
    if arguments.callgrind:
        say("counting instructions: a few minutes, most of them for loading the largest model")
        # Valgrind has no AVX-512; ours then runs what it has for AVX2.
        counts = [[f"{instructions(arguments.program, model, x.shape[1], batch):,.0f}" for batch in BATCHES] for model in models]
        rows = [[model.stem, *cells] for model, cells in zip(models, counts)]
        show(["our instructions a row (AVX2), batch", *(f"{batch:,}" for batch in BATCHES)], rows)


if __name__ == "__main__":
    main()
