#!/usr/bin/env bash
# Stops what start.sh started in the same directory, jobs first; returns when it has ended.
dir=$(realpath -m "${1:?directory}")
export SLURM_CONF="$dir/slurm.conf"
parts="slurmd.n1 slurmd.n2 slurmd.n3 slurmctld munged"
if squeue --noheader --format=%i > "$dir/left" 2> /dev/null; then
  xargs --no-run-if-empty scancel --signal=KILL --full < "$dir/left" 2> /dev/null || true
fi
# A step whose slurmd was killed has nobody left to report to, and waits for ever. All work in this directory.
for process in /proc/[0-9]*; do
  if [ "$(cat "$process/comm" 2> /dev/null)" = slurmstepd ] && [ "$(readlink "$process/cwd")" = "$dir" ]; then
    kill -KILL "${process#/proc/}" 2> /dev/null || true
  fi
done
for signal in TERM KILL; do
  for part in $parts; do
    if [ -f "$dir/$part.started" ]; then kill -"$signal" "$(cat "$dir/$part.started")" 2> /dev/null || true; fi
  done
  for _ in $(seq 1 100); do
    alive=0
    for part in $parts; do
      if [ -f "$dir/$part.started" ] && kill -0 "$(cat "$dir/$part.started")" 2> /dev/null; then alive=1; fi
    done
    [ "$alive" = 0 ] && exit 0
    sleep 0.1
  done
done
exit 0
