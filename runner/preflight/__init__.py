"""Checks of a job before it runs: `checks/` has them, one a file, `launch` runs them in a process.

Runs in: driver, and a process of its own.
"""
