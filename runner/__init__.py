"""The acting half: runs jobs on Ray Train and carries the watchdog's verdicts out.

Runs in: see each module.
"""
