"""The policies, one file each: `Config` and `decide(diagnosis, history, config) -> Verdict`.

Runs in: anywhere (pure).
"""
