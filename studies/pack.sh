#!/usr/bin/env bash
# Packs a study's runs without weights, of a runs folder that may hold other models' too:
#   studies/pack.sh RUNS STUDY MODEL studies/results/STUDY.tar.xz
set -euo pipefail
out="$(realpath "$4")"
cd "$(dirname "$1")"
[ "$(basename "$1")" = runs ] || { echo "the folder must be called runs" >&2; exit 2; }
shopt -s nullglob
found=("runs/$3"-*--*)
[ ${#found[@]} -gt 0 ] || { echo "no run of the model $3 lies in $1" >&2; exit 2; }
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude=model --exclude=adapter \
    -cJf "$out" "runs/.studies/$2.json" "${found[@]}"
ls -l "$out"
