"""What ``benchmarks/peers.py`` runs: the same workloads in each framework, one framework a module.

`lineup` lists who takes part in what, `workloads` is what they share, `worker` the process that is measured, `results`
and `report` what comes of it. All other modules are contestants, each with one or both of these functions, of which
what they return is timed:

- ``trainer(workload, data, variant)`` returns a function that trains a range of epochs and returns a list of their mean
  losses, or of None;
- ``predictor(workload, data, variant)`` returns a function that predicts the rows of `data` and returns their classes.

`variant` is one of those that `lineup` names for the contestant, such as one of two optimizers. A contestant imports
its framework and nothing else that is not needed, because whole processes are timed as well.
"""
