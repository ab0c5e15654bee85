#!/usr/bin/env bash
# MPIEXEC PROGRAM WAY: where a rank is lost, each of the others gets an error, or ends with it, soon.
set -uo pipefail
for function in ring ulysses channel; do
    out=$(timeout 60 "$1" -n 3 "$2" "$3" "$function" 2>&1)
    status=$?
    echo "$out"
    ((status != 124)) || { echo "the others wait on"; exit 1; }
    ((status != 0)) || { echo "mpiexec ends well"; exit 1; }
    [[ $3 != dead ]] || continue # mpiexec ends the others
    for rank in 0 1; do
        grep -Eq "rank $rank: after ([1-9]|10) s: ${function}_attention\(\): .* no answer within 1.5" <<<"$out" || { echo "rank $rank has no error in time"; exit 1; }
        grep -Eq "rank $rank: after 0 s: .* an earlier call had failed" <<<"$out" || { echo "rank $rank calls again"; exit 1; }
    done
done
