"""What several jobs need alike: one file a thing, none of which knows any job.

Runs in: worker; driver (preparing).
"""
