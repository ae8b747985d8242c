"""Fretsaw's engine: the stages that need PyTorch.

A stage reads one job file (`engine/contract/job.v1.schema.json`), writes JSON-lines events and one
folder an output, and last of all the done-manifest. Nothing else tells that it succeeded.
"""
