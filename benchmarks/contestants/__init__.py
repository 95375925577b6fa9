"""The contestants of ``benchmarks/peers.py``: the same workloads in each framework, one framework a module.

A module has one or both of these functions; what they return is what is timed:

- ``trainer(workload, data, variant)`` returns a function that trains epoch number e and returns its mean loss;
- ``predictor(workload, data, variant)`` returns a function that predicts the rows of `data` and returns their classes.

`variant` is one of those that ``peers.py`` lists for the contestant, such as one of two optimizers. A module imports
its framework at the top and nothing that it does not need, because whole processes are timed as well.
"""
