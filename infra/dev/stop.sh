#!/usr/bin/env bash
# Stops what s3/start.sh or swift/start.sh started in the same directory, and waits until it has ended.
#   infra/dev/stop.sh DIR
dir=${1:?directory}
# runs PID: it is there, and more than an entry that nobody has read yet
runs() { grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"; }
for file in "$dir"/run/*.pid; do
  if [ ! -f "$file" ]; then continue; fi
  pid=$(cat "$file")
  # Nothing that they hold is worth a slow end.
  kill -9 -- "-$pid" 2> /dev/null || kill -9 "$pid" 2> /dev/null || true
  for _ in $(seq 1 100); do
    if ! runs "$pid"; then break; fi
    sleep 0.1
  done
  rm -f "$file"
done
