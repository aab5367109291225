"""What the importers share: names, numbers, files, tables, and how entries become records.

Runs in: anywhere (reads files).
"""
