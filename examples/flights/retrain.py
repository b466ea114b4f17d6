"""Retrain "late-arrival" from the topics: the loop of production, in a data scientist's own tools.

Reads the events that foretell has scored, what it said of them, and what became of them; fits LightGBM
with the code of train.py; compares with what production said of the same flights; packs and announces what
has earned it. With --watch it does so whenever somebody asks for it on the control topic. What production
says of itself (brokers, topics, the model's name) is read from the configuration of the instances.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

import events
import train

# sysexits.h: the data was wrong in some way.
EX_DATAERR = 65
# Where the instances have their credentials from.
PROPERTIES = "FORETELL_KAFKA_PROPERTIES_"
# For an answer of the brokers, in seconds.
PATIENCE = 30
# The newest flights judge the model, and are not shown to it.
HOLDOUT = 0.25
# Fewer flights than that make no model worth comparing.
ROWS_MIN = 1000
GOLDEN_ROWS = 64


class Refused(Exception):
    """There is nothing to announce, and this is why."""


class Failed(Exception):
    """foretell has failed with this code, and has said why."""


class History(NamedTuple):
    """Flights of which it is known what became of them, by the time they were scheduled."""

    departures: list[events.Departure]
    said: dict[str, float]  # by the flight's id: the probability that production gave


class Judged(NamedTuple):
    """What the held-out flights say of the new version, and of what production said."""

    evaluation: train.Evaluation
    served_auc: float


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Foretell(NamedTuple):
    """The program, and the configuration of the instances."""

    program: str
    config: Path

    def run(self, *arguments: str) -> None:
        ended = subprocess.run([self.program, "model", *arguments], check=False)
        if ended.returncode != 0:
            raise Failed(ended.returncode)

    def announce(self, bundle: Path, wait: str) -> None:
        """Ends well when all instances serve it."""
        self.run("announce", "--config", str(self.config), str(bundle), "--wait", wait)


# --- load ------------------------------------------------------------------------------------------


class Cluster:
    """Kafka, as the configuration of the instances describes it."""

    def __init__(self, config: Path) -> None:
        told = tomllib.loads(config.read_text(encoding="utf-8"))
        kafka = told.get("kafka", {})
        servers = os.environ.get("FORETELL_KAFKA_BOOTSTRAP_SERVERS") or kafka["bootstrap_servers"]
        self.topics = {"events": "events", "predictions": "predictions", "control": "control"} | told.get("topics", {})
        self.model = told["model"]["name"]
        self.properties = (
            flat(kafka.get("properties", {}))
            | secrets()
            | {
                "bootstrap.servers": servers,
                # Compulsory, and not joined: looking changes nothing.
                "group.id": "retrain",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
            }
        )

    def open(self, topic: str, since: datetime | None = None) -> tuple[Consumer, set[int]]:
        """A reader of all partitions from that time on, or from their beginnings."""
        consumer = Consumer(self.properties)
        found = consumer.list_topics(topic, timeout=PATIENCE).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        begin = OFFSET_BEGINNING if since is None else int(since.timestamp() * 1000)
        places = [TopicPartition(topic, partition, begin) for partition in found.partitions]
        consumer.assign(places if since is None else consumer.offsets_for_times(places, timeout=PATIENCE))
        return consumer, set(found.partitions)

    def read(self, topic: str, since: datetime) -> Iterator[Message]:
        """What stands on a topic from that time on until now; of each partition in its order."""
        consumer, before_end = self.open(topic, since)
        while before_end:
            message = consumer.poll(PATIENCE)
            if message is None:
                raise Refused(f"`{topic}` could not be read to its end; hint: are the brokers well?")
            if message.error() is None:
                if message.value() is not None:
                    yield message
            elif message.error().code() == KafkaError._PARTITION_EOF:
                before_end.discard(message.partition())
            elif not message.error().retriable():
                raise KafkaException(message.error())
        consumer.close()


def flat(properties: dict[str, Any], before: str = "") -> dict[str, Any]:
    """`sasl.password = …` is a table within a table to TOML, and one name to librdkafka."""
    found = {}
    for key, value in properties.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def secrets() -> dict[str, str]:
    """FORETELL_KAFKA_PROPERTIES_SASL_PASSWORD, or with _FILE behind the name of a file that holds it."""
    found = {}
    for name, value in os.environ.items():
        if name.startswith(PROPERTIES):
            key = name.removeprefix(PROPERTIES)
            if key.endswith("_FILE"):
                key, value = key.removesuffix("_FILE"), Path(value).read_text(encoding="utf-8").strip()
            found[key.lower().replace("_", ".")] = value
    return found


def load(cluster: Cluster, labels_topic: str, since: datetime) -> History:
    """What foretell refused has no prediction, and is not learnt from.

    An event is known by its place on the topic: a broken one may bear the id of another.
    """
    answered, said = {}, {}
    for message in cluster.read(cluster.topics["predictions"], since):
        prediction = json.loads(message.value())
        if prediction["model"] != cluster.model:
            continue
        answered[prediction["input"]["partition"], prediction["input"]["offset"]] = prediction["id"]
        said[prediction["id"]] = prediction["probability"]
    # The last label of a flight counts; one that is null takes back what was told before.
    labels = {}
    for message in cluster.read(labels_topic, since):
        told = json.loads(message.value())
        labels[told["id"]] = was_late(told["label"])
    labels = {flight: late for flight, late in labels.items() if late is not None}
    # An event that was published twice is learnt from once.
    known = {}
    for message in cluster.read(cluster.topics["events"], since):
        flight = answered.get((message.partition(), message.offset()))
        if flight in labels:
            line = message.value().decode("utf-8")
            left = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
            scheduled = json.loads(line)["scheduled"]["time"]
            known[flight] = events.Departure(flight, scheduled, left, line, labels[flight])
    tell(f"{len(said):,} flights were scored, {len(labels):,} labels are known: {len(known):,} to learn from")
    return History(sorted(known.values(), key=lambda departure: (departure.scheduled, departure.id)), said)


def was_late(label: Any) -> bool | None:
    """A class by its name or number, or a truth."""
    if label is None:
        return None
    return bool(train.LABELS.index(label)) if isinstance(label, str) else bool(label)


# --- fit and evaluate ------------------------------------------------------------------------------


def fit(history: History, version: str) -> train.Trained:
    departures = history.departures
    if len(departures) < ROWS_MIN:
        raise Refused(f"{len(departures):,} labelled flights are too few, {ROWS_MIN:,} are needed")
    split = departures[int(len(departures) * (1 - HOLDOUT))].scheduled
    plan = train.Plan(version, departures[0].scheduled, split, departures[-1].scheduled)
    return train.train(plan, departures)


def newest(history: History, plan: train.Plan) -> list[events.Departure]:
    """The flights that the model has not seen."""
    return [departure for departure in history.departures if departure.scheduled >= plan.split]


def judge(trained: train.Trained, history: History) -> Judged:
    held_out = newest(history, trained.plan)
    late = np.array([departure.late for departure in held_out], float)
    if late.min() == late.max():
        raise Refused(f"all of the {len(late):,} newest flights had the same fate: nothing can be judged by them")
    said = np.array([history.said[departure.id] for departure in held_out])
    return Judged(train.evaluate(trained, held_out), round(float(train.auc(late, said)), 6))


def refuse(judged: Judged, auc_min: float, worse_by_max: float) -> None:
    """Raises unless the version has earned its announcement."""
    found = judged.evaluation.metrics["auc"]
    told = f"auc {found:.4f} of {judged.evaluation.metrics['held_out_rows']:,.0f} newer flights"
    tell(f"{told}; what production said of them: {judged.served_auc:.4f}")
    if found < auc_min:
        raise Refused(f"{told} is below {auc_min}; hint: look at the data before lowering --auc-min")
    if found < judged.served_auc - worse_by_max:
        raise Refused(f"{told} is more than {worse_by_max} below {judged.served_auc:.4f}, what serves")


# --- pack and announce -----------------------------------------------------------------------------


def pack(trained: train.Trained, history: History, judged: Judged, name: str, out: Path) -> list[str]:
    """Writes what a bundle is made of into a folder; gives the arguments of `foretell model pack` for it."""
    plan = trained.plan
    parts = {
        "model": trained.booster.model_to_string(),
        "contract": json.dumps(contract_of(trained, judged)),
        "golden": train.golden_rows(trained, spread(trained, newest(history, plan))),
        "reference": "".join(d.event + "\n" for d in train.between(history.departures, plan.start, plan.split)),
    }
    arguments = ["pack", "--name", name, "--version", plan.version]
    for part, text in parts.items():
        (out / part).write_text(text, encoding="utf-8")
        arguments += [f"--{part}", str(out / part)]
    return arguments


def contract_of(trained: train.Trained, judged: Judged) -> dict[str, Any]:
    plan = trained.plan
    return {
        "task": {"kind": "binary", "labels": train.LABELS, "threshold": judged.evaluation.threshold},
        "features": trained.contract,
        "training": {
            "rows": trained.rows,
            "window": {"from": plan.start, "to": plan.split},
            "metrics": judged.evaluation.metrics | {"auc_of_what_served": judged.served_auc},
            "environment": train.environment(),
        },
    }


def spread(trained: train.Trained, held_out: list[events.Departure]) -> list[str]:
    """Events over the whole range of answers."""
    lines = [departure.event for departure in held_out]
    ranked = np.argsort(trained.booster.predict(train.matrix(lines, trained.contract)), kind="stable")
    return [lines[at] for at in train.evenly(ranked, GOLDEN_ROWS)]


# --- the whole of it -------------------------------------------------------------------------------


def retrain(cluster: Cluster, foretell: Foretell, arguments: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    version = arguments.version or f"{now:%Y%m%d-%H%M%S}"
    history = load(cluster, arguments.labels, now - timedelta(days=arguments.days))
    trained = fit(history, version)
    judged = judge(trained, history)
    refuse(judged, arguments.auc_min, arguments.worse_by_max)
    bundle = arguments.bundles / version
    with tempfile.TemporaryDirectory() as folder:
        foretell.run(*pack(trained, history, judged, cluster.model, Path(folder)), "--out", str(bundle))
    foretell.announce(bundle, arguments.wait)


def attempt(cluster: Cluster, foretell: Foretell, arguments: argparse.Namespace) -> int:
    """An exit code."""
    try:
        retrain(cluster, foretell, arguments)
    except Refused as refused:
        tell(f"nothing is announced: {refused}")
        return EX_DATAERR
    except Failed as failed:
        return failed.args[0]
    except (KafkaException, KeyError, ValueError) as error:
        tell(f"nothing is announced: {type(error).__name__}: {error}")
        return EX_DATAERR
    return 0


def requests(cluster: Cluster, pause: float) -> Iterator[str]:
    """The reason of each `retrain-request`, but for those that an announcement came after; waits for the next.

    At most one in `pause` seconds: of several that came meanwhile the newest counts.
    """
    consumer, before_end = cluster.open(cluster.topics["control"])
    pending, not_before = None, time.monotonic()
    while True:
        message = consumer.poll(1)
        if message is None:
            if pending is not None and not before_end and time.monotonic() >= not_before:
                not_before = time.monotonic() + pause
                yield pending
                pending = None
        elif message.error() is None:
            pending = fold(pending, message.value(), cluster.model)
        elif message.error().code() == KafkaError._PARTITION_EOF:
            before_end.discard(message.partition())
        elif message.error().fatal():
            raise KafkaException(message.error())


def fold(pending: str | None, value: bytes, model: str) -> str | None:
    """What is asked for after one more message."""
    try:
        told = json.loads(value)
        if told["model"] != model:
            return pending
        kind = told["type"]
    except (KeyError, TypeError, ValueError):
        return pending  # Nobody has understood it; the instances report it.
    if kind == "retrain-request":
        return told.get("reason") or "no reason given"
    return None if kind == "retrain-complete" else pending


def main() -> None:
    parser = argparse.ArgumentParser(
        description="retrain late-arrival from the topics, and announce what has earned it"
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration of the instances")
    parser.add_argument("--labels", required=True, help='topic of what became of the flights: {"id": …, "label": …}')
    parser.add_argument("--bundles", type=Path, required=True, help="each version becomes a folder in it")
    parser.add_argument("--version", help="default: the time")
    parser.add_argument("--days", type=float, default=30, help="learn from so many days [%(default)s]")
    parser.add_argument("--auc-min", type=float, default=0.85, help="refuse a model below it [%(default)s]")
    parser.add_argument("--worse-by-max", type=float, default=0.01, help="what AUC may be lost [%(default)s]")
    parser.add_argument("--wait", default="2m", help="for all instances to follow [%(default)s]")
    parser.add_argument("--foretell", default="foretell", help="the program [%(default)s]")
    parser.add_argument("--watch", action="store_true", help="train whenever the control topic asks for it")
    parser.add_argument(
        "--pause", type=float, default=3600, help="with --watch: at most once in so many seconds [%(default)s]"
    )
    arguments = parser.parse_args()
    cluster, foretell = Cluster(arguments.config), Foretell(arguments.foretell, arguments.config)
    if not arguments.watch:
        sys.exit(attempt(cluster, foretell, arguments))
    tell("waiting for requests")
    for reason in requests(cluster, arguments.pause):
        tell(f"asked to train: {reason}")
        attempt(cluster, foretell, arguments)


if __name__ == "__main__":
    main()
