"""The jobs: one folder each, named as on the command line (`JOB=vesuvius`).

Runs in: worker.
"""
