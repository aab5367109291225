#!/bin/sh
# Runs a command of the runner on a cluster's head, with the Python whose Ray runs this very job:
# `python` on the head's PATH may be another one. The supervisor of the job is an ancestor of this
# shell and has Ray's library mapped, from the environment that is meant.
pid=$PPID
found=
for _ in 1 2 3; do
    found=$(sed -n 's|^.* \(/.*\)/lib/python3[^/]*/site-packages/ray/_raylet\.so$|\1/bin/python|p' \
        "/proc/$pid/maps" 2>/dev/null | head -n 1)
    [ -z "$found" ] || break
    pid=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$pid/status")
done
[ -x "$found" ] || found=python
exec "$found" -u -m runner "$@"
