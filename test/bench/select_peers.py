"""Solves an instance with PuLP + CBC as the public peer formulates it, and with highspy.

Both get the numbers as they are: no scaling, no removal of impossible choices. Prints JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import highspy
import numpy as np
import pulp

TIME_LIMIT_SECONDS = 120


def cpu_seconds() -> float:
    """Own and children's: CBC is a child process."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def with_pulp(problem: dict[str, Any]) -> dict[str, Any]:
    started = cpu_seconds()
    model = pulp.LpProblem("selection", pulp.LpMinimize)
    x = [
        [pulp.LpVariable(f"x_{layer}_{choice}", cat="Binary") for choice in range(len(scores))]
        for layer, scores in enumerate(problem["scores"])
    ]

    def total(table: list[list[float]]) -> Any:
        return pulp.lpSum(
            table[layer][choice] * variable
            for layer, row in enumerate(x)
            for choice, variable in enumerate(row)
        )

    model += total(problem["scores"])
    for row in x:
        model += pulp.lpSum(row) == 1
    for row in problem["rows"]:
        used = total(row["costs"])
        if row["sense"] != "at_least":
            model += used <= row["limit"]
        if row["sense"] != "at_most":
            model += used >= row["limit"]
    model.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=TIME_LIMIT_SECONDS))
    taken = [[choice for choice, v in enumerate(row) if (v.value() or 0) > 0.5] for row in x]
    return {
        "solver": "PuLP + CBC",
        "status": pulp.LpStatus[model.status],
        "cpuSeconds": cpu_seconds() - started,
        "picks": [row[0] for row in taken] if all(len(row) == 1 for row in taken) else None,
    }


def with_highspy(problem: dict[str, Any]) -> dict[str, Any]:
    started = cpu_seconds()
    starts = np.cumsum([0] + [len(scores) for scores in problem["scores"]])
    columns = int(starts[-1])
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("mip_rel_gap", 0.0)
    model.setOptionValue("time_limit", float(TIME_LIMIT_SECONDS))
    model.setOptionValue("threads", 1)
    for scores in problem["scores"]:
        for score in scores:
            model.addCol(score, 0.0, 1.0, 0, [], [])
    model.changeColsIntegrality(
        columns, np.arange(columns, dtype=np.int32), np.array([highspy.HighsVarType.kInteger] * columns)
    )
    for layer in range(len(problem["scores"])):
        own = np.arange(starts[layer], starts[layer + 1], dtype=np.int32)
        model.addRow(1.0, 1.0, len(own), own, np.ones(len(own)))
    every = np.arange(columns, dtype=np.int32)
    for row in problem["rows"]:
        lower = row["limit"] if row["sense"] != "at_most" else -highspy.kHighsInf
        upper = row["limit"] if row["sense"] != "at_least" else highspy.kHighsInf
        model.addRow(lower, upper, columns, every, np.concatenate([np.array(c) for c in row["costs"]]))
    model.run()
    values = np.array(model.getSolution().col_value)
    picks = [int(values[starts[i] : starts[i + 1]].argmax()) for i in range(len(starts) - 1)]
    return {
        "solver": "highspy, unscaled",
        "status": model.modelStatusToString(model.getModelStatus()),
        "cpuSeconds": cpu_seconds() - started,
        "picks": picks,
    }


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        problem = json.load(file)
    print(json.dumps([with_pulp(problem), with_highspy(problem)]))


main()
