"""The contestants of ``benchmarks/peers.py``: the same workloads in each framework, one module per framework.

`lineup` lists the contestants of each workload, `workloads` has their common parts, `worker` is the measured process,
and `results` and `report` process the results. All other modules are contestants. Each has one or both of these
functions, and the function that they return is timed:

- ``trainer(workload, data, variant)`` returns a function that trains a range of epochs and returns a list of their mean
  losses, or of None;
- ``predictor(workload, data, variant)`` returns a function that predicts the rows of `data` and returns their classes.

`variant` is one of the contestant's variants in `lineup`, such as one of two optimizers. A contestant imports only its
framework and the modules it needs, because whole processes are timed, too.
"""
