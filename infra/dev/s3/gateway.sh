#!/usr/bin/env bash
# Starts the gateway of the S3 that start.sh set up in DIR; again, when it was killed. It does not wait for it.
set -euo pipefail
dir=$(realpath -m "${1:?directory of the S3}")
cd "$dir"
setsid radosgw -c "$dir/ceph.conf" -n client.admin -f > run/rgw.out 2>&1 &
echo $! > run/rgw.pid
