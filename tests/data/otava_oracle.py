"""Writes otava_oracle.json: series with steps, and where Apache Otava sees them.

    uv run --no-project --with apache-otava==0.8.0 python tests/data/otava_oracle.py

Otava stays out of the development dependencies: it pins numpy, scipy and ruamel.yaml to exact
versions and brings clients of BigQuery, Slack and PostgreSQL.
"""

import json
from pathlib import Path

import numpy as np
from otava.analysis import compute_change_points

PLANTED = [[], [(40, 0.05)], [(25, -0.08)], [(30, 0.06), (60, 0.07)], [(30, 0.1), (60, -0.1)]]


def main():
    rng = np.random.default_rng(8)
    rows = []
    for planted in PLANTED * 4:
        logs = rng.normal(0, 0.012, 90)
        for night, size in planted:
            logs[night:] += size
        values = [round(float(value), 1) for value in 20_000 * np.exp(logs)]
        found, _ = compute_change_points(values, window_len=30, max_pvalue=1e-4)
        rows.append({"values": values, "otava": [int(point.index) for point in found]})
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    Path(__file__).with_suffix(".json").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
