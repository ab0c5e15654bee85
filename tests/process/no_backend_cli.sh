#!/bin/sh
# no_backend_cli.sh MUATTN...: the program on a processor that runs none of its backends says so, and does not die.
set -eu
"$@" info | tee /dev/stderr | grep -q 'not for this machine'
if "$@" info | grep -q 'runs here'; then
    exit 1
fi
code=0
"$@" check || code=$?
[ "$code" -eq 1 ]
