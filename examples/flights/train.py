"""Train "late-arrival": will a flight that has just departed arrive 15 or more minutes late?

Writes two bundles for foretell, as a team that retrains each quarter would have them: version 1
has seen January to June, version 2 January to September. Both are reproducible byte for byte.

The model learns from the events themselves, read through the same contract that is written into
the manifest. So training cannot see a feature that serving would compute differently.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np

import events
from events import Departure, compact

MODEL = "late-arrival"
LABELS = ["on_time", "late"]
TREES = 100
PARAMETERS = {
    "objective": "binary",
    "num_leaves": 31,
    "learning_rate": 0.1,
    "min_data_in_leaf": 50,
    # Reproducible byte for byte: one seed, one layout of the histograms, one order of the sums.
    "seed": 2013,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
# Of the histograms that drift is measured by.
BINS = 10
CODES_MAX = 31
# exp() differs in its last bits between mathematics libraries; the scores before it do not.
TOLERANCE = 1e-12
# sysexits.h: the data was wrong in some way.
EX_DATAERR = 65

Event = dict[str, Any]
Feature = dict[str, Any]
Reader = Callable[[Event], float]


class Plan(NamedTuple):
    """One version: trained on [start, split), measured on [split, end). Days of New York."""

    version: str
    start: str
    split: str
    end: str


# The four weeks after each training window are held out: nothing later may help to predict them.
PLANS = [
    Plan("1", "2013-01-01", "2013-07-01", "2013-07-29"),
    Plan("2", "2013-01-01", "2013-10-01", "2013-10-29"),
]


class Trained(NamedTuple):
    plan: Plan
    booster: lightgbm.Booster
    contract: list[Feature]
    rows: int
    reference: dict[str, Any]


class Evaluation(NamedTuple):
    threshold: float
    metrics: dict[str, float]


# --- load and clean ------------------------------------------------------------------------------


def load() -> list[Departure]:
    return events.departures()


def clean(departures: list[Departure]) -> list[Departure]:
    """Diverted flights have no arrival delay to learn from; everything else is kept as it is."""
    return [d for d in departures if d.late is not None]


def between(departures: Iterable[Departure], start: str, end: str) -> list[Departure]:
    """Scheduled on New York's days [start, end); RFC 3339 of one place sorts as text."""
    return [d for d in departures if start <= d.scheduled < end]


# --- the contract: from an event to a row ----------------------------------------------------------


def contract(history: list[Departure]) -> list[Feature]:
    """The features in the model's column order. Vocabularies hold what the history has shown."""
    seen = [json.loads(d.event) for d in history]
    return [
        feature("departure_delay", "/departure/delay", "number", required=True),
        category("carrier", "/flight/carrier", seen, required=True),
        category("origin", "/origin", seen),
        category("dest", "/dest", seen),
        feature("distance", "/distance", "number"),
        feature("scheduled_minutes", "/scheduled/minutes", "number"),
        *(
            feature(part, "/scheduled/time", {"timestamp": {"part": part}}, required=True)
            for part in ["month", "day", "weekday", "hour", "minute"]
        ),
        *(feature(name, f"/weather/{name}", "number") for name in events.WEATHER),
    ]


def feature(name: str, path: str, kind: Any, required: bool = False) -> Feature:
    return {"name": name, "path": path, "kind": kind, "required": required}


def category(name: str, path: str, seen: list[Event], required: bool = False) -> Feature:
    terms = {at(event, path) for event in seen} - {None}
    kind = {"category": {"vocabulary": sorted(terms), "unknown": "missing"}}
    return feature(name, path, kind, required)


def features(event: Event, readers: list[Reader]) -> list[float]:
    """The row of an event: precisely what foretell computes when it serves the model."""
    return [read(event) for read in readers]


def readers(contract: list[Feature]) -> list[Reader]:
    """A function for each feature, so that kinds are looked at once and not once a row."""
    return [reader(feature) for feature in contract]


def reader(feature: Feature) -> Reader:
    convert = converter(feature["kind"])

    def read(event: Event) -> float:
        value = at(event, feature["path"])
        if value is not None:
            return convert(value)
        if feature["required"]:
            raise ValueError(f"{feature['name']}: nothing at {feature['path']}")
        return np.nan

    return read


def at(event: Event, pointer: str) -> Any:
    """The value at a JSON pointer; None if it, or anything above it, is absent or null."""
    value: Any = event
    for key in pointer[1:].split("/"):
        if value is None:
            return None
        value = value.get(key)
    return value


def converter(kind: Any) -> Callable[[Any], float]:
    if kind == "number":
        return float
    if "category" in kind:
        codes = {term: float(code) for code, term in enumerate(kind["category"]["vocabulary"])}
        return lambda term: codes.get(term, np.nan)
    part = PARTS[kind["timestamp"]["part"]]
    return lambda text: float(part(datetime.fromisoformat(text)))


# Read off the clock as it is written: no conversion to another zone.
PARTS: dict[str, Callable[[datetime], int]] = {
    "month": lambda time: time.month,
    "day": lambda time: time.day,
    "weekday": lambda time: time.weekday(),
    "hour": lambda time: time.hour,
    "minute": lambda time: time.minute,
}


def matrix(lines: Iterable[str], contract: list[Feature]) -> np.ndarray:
    read = readers(contract)
    return np.array([features(json.loads(line), read) for line in lines])


def design(departures: list[Departure], contract: list[Feature]) -> tuple[np.ndarray, np.ndarray]:
    return matrix((d.event for d in departures), contract), np.array([d.late for d in departures], float)


# --- train -----------------------------------------------------------------------------------------


def train(plan: Plan, departures: list[Departure]) -> Trained:
    history = between(departures, plan.start, plan.split)
    columns = contract(history)
    rows, late = design(history, columns)
    data = lightgbm.Dataset(
        rows,
        late,
        feature_name=[feature["name"] for feature in columns],
        # The codes themselves, not a pandas category: the contract holds the vocabulary.
        categorical_feature=[i for i, feature in enumerate(columns) if "category" in feature["kind"]],
    )
    booster = lightgbm.train(PARAMETERS, data, TREES)
    return Trained(plan, booster, columns, len(history), reference(rows, booster.predict(rows), columns))


# --- the reference: what drift is measured from ----------------------------------------------------


def reference(rows: np.ndarray, said: np.ndarray, contract: list[Feature]) -> dict[str, Any]:
    """How the features and the predictions were distributed (schemas/manifest.schema.json)."""
    features = [{"name": f["name"], **histogram(column, f["kind"])} for f, column in zip(contract, rows.T)]
    # exp() differs in its last bits between mathematics libraries.
    return {"rows": len(rows), "features": features, "outputs": [{"name": "probability", **numbers(said.round(6))}]}


def histogram(column: np.ndarray, kind: Any) -> dict[str, Any]:
    return categories(column) if "category" in kind else numbers(column)


def numbers(column: np.ndarray) -> dict[str, Any]:
    """Bins of about equal shares, each up to its edge; and one beyond the last."""
    known = column[~np.isnan(column)]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")) if len(known) else known
    edges = edges[edges < known.max(initial=-np.inf)]
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "missing": len(column) - len(known)}


def categories(column: np.ndarray) -> dict[str, Any]:
    """The most frequent codes; and one bin for all others."""
    known = column[~np.isnan(column)].astype(int)
    counts = np.bincount(known)
    codes = np.sort(np.argsort(-counts, kind="stable")[:CODES_MAX])
    others = len(known) - counts[codes].sum()
    counted = [*counts[codes].tolist(), int(others)]
    return {"codes": codes.tolist(), "counts": counted, "missing": len(column) - len(known)}


# --- evaluate --------------------------------------------------------------------------------------


def evaluate(trained: Trained, departures: list[Departure], threshold: float | None = None) -> Evaluation:
    """Without a threshold, the one that is best for these departures is chosen."""
    rows, late = design(departures, trained.contract)
    probability = trained.booster.predict(rows)
    if threshold is None:
        threshold = best_threshold(late, probability)
    metrics = {
        "held_out_rows": len(late),
        "base_rate": late.mean(),
        "auc": auc(late, probability),
        "log_loss": -np.log(np.where(late == 1, probability, 1 - probability)).mean(),
        "brier": ((probability - late) ** 2).mean(),
        "f1": f1(late, probability, threshold),
    }
    return Evaluation(threshold, {name: round(float(value), 6) for name, value in metrics.items()})


def auc(late: np.ndarray, probability: np.ndarray) -> float:
    """How often a late flight is ranked above one on time; ties count half."""
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    positives = late.sum()
    wins = rank[late == 1].sum() - positives * (positives + 1) / 2
    return wins / (positives * (len(late) - positives))


def f1(late: np.ndarray, probability: np.ndarray, threshold: float) -> float:
    said = probability >= threshold
    return 2 * (said & (late == 1)).sum() / (said.sum() + late.sum())


def best_threshold(late: np.ndarray, probability: np.ndarray) -> float:
    """Of 0.01 to 0.99, the one with the best F1: alarms should be both right and complete."""
    candidates = [percent / 100 for percent in range(1, 100)]
    return max(candidates, key=lambda threshold: f1(late, probability, threshold))


# --- pack ------------------------------------------------------------------------------------------


def pack(trained: Trained, evaluation: Evaluation, held_out: list[Departure], folder: Path) -> None:
    """Write the bundle. The manifest comes last: it holds the hash of every other file."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.txt"
    golden = folder / "golden.jsonl"
    model.write_text(trained.booster.model_to_string(), encoding="utf-8", newline="\n")
    lines = golden_events(trained, held_out)
    golden.write_text(golden_rows(trained, lines), encoding="utf-8", newline="\n")
    text = json.dumps(manifest(trained, evaluation, model, golden), indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def manifest(trained: Trained, evaluation: Evaluation, model: Path, golden: Path) -> dict[str, Any]:
    plan = trained.plan
    window = {"from": midnight(plan.start), "to": midnight(plan.split)}
    return {
        "model": MODEL,
        "version": plan.version,
        # The first moment at which this version could have been trained. The time of this run
        # would change the manifest, and with it the version's digest, whenever it is repeated.
        "created": window["to"],
        "artifact": {
            "format": "lightgbm",
            "path": model.name,
            "sha256": sha256(model),
            "bytes": model.stat().st_size,
        },
        "task": {"kind": "binary", "labels": LABELS, "threshold": evaluation.threshold},
        "features": trained.contract,
        "golden": {"path": golden.name, "sha256": sha256(golden), "tolerance": TOLERANCE},
        "training": {
            "rows": trained.rows,
            "window": window,
            "metrics": evaluation.metrics,
            "environment": environment(),
            "revision": revision(),
        },
        "reference": trained.reference,
    }


def midnight(day: str) -> str:
    return datetime.fromisoformat(day).replace(tzinfo=events.NEW_YORK).isoformat()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def environment() -> list[str]:
    """As `pip freeze` prints it, without asking pip, which not every environment has."""
    installers = {"pip", "setuptools", "wheel"}
    found = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in metadata.distributions()}
    return [f"{name}=={found[name]}" for name in sorted(found) if name not in installers]


def revision() -> str:
    """Hash of the code that made the bundle. A commit could not name itself in what it contains."""
    code = b"".join(Path(module).read_bytes() for module in (events.__file__, __file__))
    return "sha256:" + hashlib.sha256(code).hexdigest()


def golden_rows(trained: Trained, lines: list[str]) -> str:
    """The booster's own predictions; the event stands there as text, just as it is published."""
    outputs = trained.booster.predict(matrix(lines, trained.contract))
    return "".join(f'{{"event":{line},"output":[{float(p)!r}]}}\n' for line, p in zip(lines, outputs))


def golden_events(trained: Trained, held_out: list[Departure]) -> list[str]:
    """64 flights that the model has not seen: the whole range of answers, gaps, and odd forms."""
    whole, gaps, no_weather = by_gaps([d.event for d in held_out])
    ranked = np.argsort(trained.booster.predict(matrix(whole, trained.contract)), kind="stable")
    spread = [whole[i] for i in evenly(ranked, 34)]
    return [*spread, *evenly(gaps, 12), *evenly(no_weather, 4), *odd_events(spread)]


def by_gaps(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Events that are whole, that lack a measurement (no gust is usual), that lack the weather."""
    whole, gaps, no_weather = [], [], []
    for line in lines:
        weather = json.loads(line)["weather"]
        if weather is None:
            no_weather.append(line)
        elif any(value is None for name, value in weather.items() if name != "wind_gust"):
            gaps.append(line)
        else:
            whole.append(line)
    return whole, gaps, no_weather


def evenly(items: Any, count: int) -> list[Any]:
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def odd_events(lines: list[str]) -> list[str]:
    """Real events, each altered in a way that production will one day come up with."""
    changes: list[Callable[[Event], Any]] = [
        lambda e: e["flight"].update(carrier="ZZ"),  # a new carrier: unknown, so missing
        lambda e: e.update(dest="XXX"),  # a new destination
        lambda e: e["flight"].update(carrier="ZZ") or e.update(origin="SWF", dest="XXX"),
        lambda e: e.pop("weather"),  # absent is as good as null
        lambda e: e.update(origin=None, dest=None, distance=None),
        lambda e: e["scheduled"].pop("minutes") and e.pop("distance"),
        lambda e: e.update(weather=dict.fromkeys(e["weather"])),
        lambda e: e["departure"].update(delay=-60),  # beyond all that was seen in training
        lambda e: e["departure"].update(delay=2880),
        lambda e: e["departure"].update(delay=14.5),
        lambda e: e["weather"].update(wind_gust=41.42808, visib=0.25, precip=1.21),
        lambda e: e["scheduled"].update(time="2013-12-31T23:59:00Z"),
        lambda e: e.update(remark='de-iced "twice" \u2603 \\', crew={"cockpit": [2, {"n": None}]}),
        lambda e: e.update(list(reversed([(key, e.pop(key)) for key in list(e)]))),
    ]
    return [altered(line, change) for line, change in zip(evenly(lines, len(changes)), changes)]


def altered(line: str, change: Callable[[Event], Any]) -> str:
    event = json.loads(line)
    change(event)
    return compact(event)


def verify(folder: Path) -> None:
    """Read the bundle back as a stranger would: hashes, and golden outputs to the last bit."""
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for part in (told["artifact"], told["golden"]):
        check(part["sha256"] == sha256(folder / part["path"]), f"{folder}: hash of {part['path']}")
    booster = lightgbm.Booster(model_file=folder / told["artifact"]["path"])
    check(booster.feature_name() == [feature["name"] for feature in told["features"]], f"{folder}: feature names")
    rows = [json.loads(line) for line in (folder / told["golden"]["path"]).read_text("utf-8").splitlines()]
    outputs = booster.predict(matrix((compact(row["event"]) for row in rows), told["features"]))
    check([row["output"] for row in rows] == [[p] for p in outputs], f"{folder}: golden outputs")


def check(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(f"{what}: not what was written; the bundle is unusable")


# --- the whole of it -------------------------------------------------------------------------------


def refuse(trained: Trained, evaluation: Evaluation, auc_min: float) -> None:
    found = evaluation.metrics["auc"]
    if found < auc_min:
        plan = trained.plan
        print(
            f"{MODEL} {plan.version}: auc {found:.4f} on {plan.split} to {plan.end} is below {auc_min}:"
            f" nothing packed; hint: look at the data before lowering --auc-min",
            file=sys.stderr,
        )
        sys.exit(EX_DATAERR)


def report(trained: Trained, evaluation: Evaluation, later: Evaluation, folder: Path) -> None:
    plan, told = trained.plan, evaluation.metrics
    print(
        f"\n{MODEL} {plan.version}  {folder}\n"
        f"  trained on   {plan.start} to {plan.split}, {trained.rows:,} flights\n"
        f"  held out     {plan.split} to {plan.end}, {told['held_out_rows']:,.0f} flights, {told['base_rate']:.1%} late\n"
        f"               AUC {told['auc']:.4f}  log loss {told['log_loss']:.4f}  Brier {told['brier']:.4f}\n"
        f"  says late    from probability {evaluation.threshold} on, F1 {told['f1']:.4f}\n"
        f"  December     AUC {later.metrics['auc']:.4f}  F1 {later.metrics['f1']:.4f}  (the sample of the tour)\n"
        f"  digest       sha256:{sha256(folder / 'manifest.json')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="train and pack both versions of late-arrival")
    parser.add_argument("--out", type=Path, default=events.HERE / "bundles", help="folder of the bundles [%(default)s]")
    parser.add_argument("--auc-min", type=float, default=0.85, help="refuse a model below it [%(default)s]")
    arguments = parser.parse_args()

    departed = load()
    known = clean(departed)
    print(f"{len(departed):,} departures, {len(known):,} with a known arrival", flush=True)

    ready = []
    for plan in PLANS:
        trained = train(plan, known)
        held_out = between(known, plan.split, plan.end)
        evaluation = evaluate(trained, held_out)
        refuse(trained, evaluation, arguments.auc_min)
        ready.append((trained, evaluation, held_out))

    # Only now, so that a refused version leaves no half of the pair behind.
    for trained, evaluation, held_out in ready:
        folder = arguments.out / trained.plan.version
        pack(trained, evaluation, held_out, folder)
        verify(folder)
        december = between(known, "2013-12-01", "2014-01-01")
        report(trained, evaluation, evaluate(trained, december, evaluation.threshold), folder)


if __name__ == "__main__":
    main()
