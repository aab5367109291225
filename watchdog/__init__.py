"""The judging half: pure functions on plain data, with neither Ray nor torch.

Runs in: anywhere (pure), except the modules that say otherwise.
"""
