"""Renders the chart with infra/helm/example.values.yaml, as `helm template` would, and lints it.

    pip install helm-python-sdk && python infra/helm/render.py > infra/helm/rendered.yaml

The package is Helm 4's own Go code; the chart is tried with nothing else, and installed nowhere.
"""

from __future__ import annotations

import sys
from pathlib import Path

import helm_python

here = Path(__file__).parent
values = helm_python.values_from_yaml((here / "example.values.yaml").read_text(encoding="utf-8"))
found = helm_python.lint(here / "fretsaw", values)
print(found, file=sys.stderr)
with helm_python.Chart.load(here / "fretsaw") as chart:
    manifests = chart.render(values, name="fretsaw", namespace="fretsaw")
for path in sorted(manifests):
    text = manifests[path].strip()
    if path.endswith(".yaml") and text:
        print(f"# {path}\n{text.removeprefix('---').strip()}\n---")
