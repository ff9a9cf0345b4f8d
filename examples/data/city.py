"""Smart city: this machine as a street cabinet. Its telemetry (psutil) goes over a real MQTT broker into versions.

    mosquitto -p 18830 &
    python -m examples.data.city FOLDER 18830          # writes FOLDER/city.yaml, then publishes for a minute
    aios apply -f FOLDER/city.yaml                     # beside it; --rerun takes what came since

What is measured is real. That the cabinet stands in a street is not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from pipelines.ingest.sources.generators import host_samples

TOPIC = "city/cabinet-1/telemetry"


def publish(port: int, samples: Iterable[dict[str, Any]], host: str = "127.0.0.1") -> int:
    """Publish samples with QoS 1; returns how many the broker has taken over."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(host, port)
    client.loop_start()
    n = 0
    for sample in samples:
        payload = json.dumps({"cabinet": "cabinet-1", **sample}, default=lambda value: value.isoformat())
        client.publish(TOPIC, payload, qos=1).wait_for_publish(10)
        n += 1
    client.disconnect()
    client.loop_stop()
    return n


def documents(port: int, idle: str = "10s") -> list[dict[str, Any]]:
    """Return the workload: what has come since the last version is added to it, each sample once."""
    ingest = {
        "kind": "ingest",
        "name": "city-ingest",
        "source": {
            "mqtt": {
                "host": "127.0.0.1",
                "port": port,
                "topic": "city/+/telemetry",
                "batch": {"rows": 1000, "seconds": "5s"},
                "until": {"idle": idle},
            },
        },
        "key": ["cabinet", "at"],
        "prepare": [
            {"cast": {"at": "timestamp[us, UTC]"}},
            {"convert": {"memory_used": {"from": "B", "to": "GiB"}}},
            {"derive": {"busy": "cpu_percent > 50"}},
            {"drop": ["topic"]},
        ],
        "check": [
            {"column": "cpu_percent", "min": 0, "max": 100, "on_fail": "quarantine"},
            {"column": "at", "fresh": "1h", "on_fail": "warn"},
        ],
        "target": "load",
        "task": "regression",
        "features": ["cpu_percent", "memory_percent", "processes"],
        "outputs": {"data": "dataset://cabinet"},
    }
    return [ingest]


def main() -> None:
    folder, port = Path(sys.argv[1]).absolute(), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "city.yaml"
    path.write_text(yaml.safe_dump_all(documents(port), sort_keys=False), encoding="utf-8")
    print(f"aios apply -f {path}", flush=True)
    print(f"{publish(port, host_samples(600, 0.1))} samples published")


if __name__ == "__main__":
    main()
