"""Metrics for a team's own dashboards: TensorBoard event files and MLflow, with their official libraries.

The database is the truth. What goes out follows it a little later, and what another program does with it changes no
run: a server that is away is told everything once it is back.
"""
