"""A heterogeneous gpt-oss as an ONNX graph that ONNX Runtime decodes fast on a CPU.

`model.py` reads what the graph needs out of a PyTorch model, `graph.py` builds the graph node by
node (a second where tracing takes half a minute), `check.py` decodes with it and compares with
PyTorch.
"""
