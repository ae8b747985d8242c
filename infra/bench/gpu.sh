#!/bin/sh
# What wants a GPU, in about ten minutes on one H100: the engine's tests on it; two layers of gpt-oss-120b's geometry at
# 8K, 32K and 128K tokens; steps of distillation at gpt-oss-20b's geometry cut to four layers, with and without the shared
# experts. Every measurement has a limit of its own, in seconds; what is over it says so, and the next one runs.
#
#   infra/bench/gpu.sh [tests] [geometry] [steps]      all when none is named; PYTHON has torch, transformers, trl, pytest
set -u
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH=engine/src

if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo 'no CUDA device here: nothing is measured'
  exit 1
fi
for part in ${*:-tests geometry steps}; do
  case $part in
    tests) timeout 120 "$python" -m pytest -q -p no:warnings engine/tests/gpu ;;
    geometry) "$python" infra/bench/train.py --geometry --limit 70 ;;
    steps) "$python" infra/bench/train.py --only fretsaw snapshots plain --limit 80 ;;
    *) echo "no part $part" && exit 2 ;;
  esac
done
