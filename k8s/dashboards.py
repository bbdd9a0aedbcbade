"""Dashboards for Grafana: Ray's own, as the Ray of the lock makes them, and ours of a training run.

python -m k8s.dashboards        # writes charts/sttn/dashboards/, from which the chart takes them
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.dashboard.modules.metrics import grafana_dashboard_factory as rays

from mlops.tracking import names

FOLDER = Path(__file__).parents[1] / "charts" / "sttn" / "dashboards"

_WIDTH, _HEIGHT, _IN_A_ROW = 8, 8, 3  # of a panel; Grafana's grid is 24 wide
_CLUSTER = 'ray_io_cluster=~"$cluster"'
_NODE = "{{instance}}"


def made() -> dict[str, str]:
    """Return each dashboard as JSON by its file name, the same at each call."""
    there = {
        "ray.json": rays.generate_default_grafana_dashboard(),
        "ray-data.json": rays.generate_data_grafana_dashboard(),
        "ray-train.json": rays.generate_train_grafana_dashboard(),
    }
    compact = {
        name: json.dumps(json.loads(text), separators=(",", ":"))
        for name, (text, _) in there.items()
    }
    return {**compact, "sttn.json": json.dumps(_ours(), indent=1)}


def _ours() -> dict[str, Any]:
    """Build the dashboard of training runs: their scalars, and the use of their nodes."""
    losses = (names.LOSS_HOLE, names.LOSS_VALID, names.LOSS_GENERATOR_ADVERSARIAL)
    waits = (names.DATA_WAIT, names.CHECKPOINT_WAIT, names.VALIDATION_TIME)
    panels = [
        _scalars("Clips seen", "short", [names.CLIPS]),
        _scalars("Clips per second", "short", [names.CLIPS_PER_SECOND]),
        _scalars("Model FLOP utilisation", "percentunit", [names.UTILISATION]),
        _scalars("Losses", "short", losses),
        _scalars("PSNR inside the holes of held-out clips", "dB", [names.VALIDATION_HOLE_PSNR]),
        _scalars("Share of time that is not learning", "percentunit", waits),
        _panel("GPUs at work", "percent", f"ray_node_gpus_utilization{{{_CLUSTER}}}", _NODE),
        _panel("GPU memory", "mbytes", f"ray_node_gram_used{{{_CLUSTER}}}", _NODE),
        _panel("Memory of the nodes", "bytes", f"ray_node_mem_used{{{_CLUSTER}}}", _NODE),
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, _IN_A_ROW)
        place = {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
        panel |= {"id": number + 1, "gridPos": place}
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}
    return {
        "uid": "sttn-training",
        "title": "STTN training",
        "tags": ["sttn"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                source,
                _choice("cluster", "label_values(ray_node_mem_used, ray_io_cluster)"),
                _choice("run", f"label_values(ray_{names.GAUGE}, run)"),
            ]
        },
        "panels": panels,
    }


def _scalars(title: str, unit: str, scalars: Sequence[str]) -> dict[str, Any]:
    wanted = "|".join(scalars)
    expression = f'ray_{names.GAUGE}{{{_CLUSTER}, run=~"$run", scalar=~"{wanted}"}}'
    legend = "{{run}}" if len(scalars) == 1 else "{{run}} {{scalar}}"
    return _panel(title, unit, expression, legend)


def _panel(title: str, unit: str, expression: str, legend: str) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    target = {"refId": "A", "expr": expression, "legendFormat": legend, "datasource": source}
    return {
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [target],
    }


def _choice(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in made().items():
        (FOLDER / name).write_text(text + "\n")
