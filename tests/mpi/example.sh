#!/usr/bin/env bash
# CMAKE BUILD_DIR MPICXX MPIEXEC: builds docs/examples/ring_mpi.cpp against the installed package, as its first lines say, and runs it.
set -euo pipefail
cmake=$1 build=$2 mpicxx=$3 mpiexec=$4
example=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../docs/examples/ring_mpi.cpp
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$build" --prefix "$work/prefix" >/dev/null
read -ra flags < <(PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name muattn.pc)") pkg-config --cflags --libs muattn)
"$mpicxx" -std=c++17 -O2 "$example" "${flags[@]}" -o "$work/ring_mpi"
for ranks in 1 2 3; do
    "$mpiexec" -n "$ranks" "$work/ring_mpi"
done
