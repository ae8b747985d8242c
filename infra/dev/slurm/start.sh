#!/usr/bin/env bash
# A real Slurm on this machine for tests: controller and three nodes (n1, n2, n3), without systemd.
#   infra/dev/slurm/start.sh DIR [PORT [jobcomp]]     stop it with infra/dev/slurm/stop.sh DIR
# PORT is the controller's; the nodes take the three after it. `jobcomp`: ended jobs are written to a file, which
# `sacct -c` reads; without it there is no accounting at all.
# Needs Debian's slurm-wlm and munge, and root (npm run setup -- --system).
# Use it with SLURM_CONF=DIR/slurm.conf in the environment.
set -euo pipefail
dir=$(realpath -m "${1:?directory to run in}")
port=${2:-26817}
jobcomp=${3:-none}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"
cd "$dir"
rm -rf state spool.n1 spool.n2 spool.n3 munge.key
mkdir -p state spool.n1 spool.n2 spool.n3
chmod 755 "$dir"
jobcomp_type=jobcomp/none
if [ "$jobcomp" = jobcomp ]; then jobcomp_type=jobcomp/filetxt; fi
sed -e "s#@DIR@#$dir#g" -e "s#@HOST@#$(hostname)#g" -e "s#@PORT@#$port#g" -e "s#@USER@#$(id -un)#g" \
  -e "s#@NODE_PORT@#$((port + 1))#g" -e "s#@NODE_PORT_LAST@#$((port + 3))#g" -e "s#@CPUS@#$(nproc)#g" \
  -e "s#@JOBCOMP@#$jobcomp_type#g" "$here/slurm.conf.in" > slurm.conf
export SLURM_CONF="$dir/slurm.conf"

dd if=/dev/urandom of=munge.key bs=64 count=1 status=none
chmod 600 munge.key
# --force: the folder of a test need not have the owners that a daemon would ask for.
munged --force --foreground --num-threads=2 --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
  --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" > munged.out 2>&1 &
echo $! > munged.started
for _ in $(seq 1 100); do [ -S munge.socket ] && break; sleep 0.1; done

slurmctld -D -i > slurmctld.out 2>&1 &
echo $! > slurmctld.started
for node in n1 n2 n3; do
  slurmd -D -N "$node" > "slurmd.$node.out" 2>&1 &
  echo $! > "slurmd.$node.started"
done
for _ in $(seq 1 300); do
  if [ "$(sinfo --noheader --partition=low --format='%D %t' 2> /dev/null)" = "3 idle" ]; then echo "$SLURM_CONF"; exit 0; fi
  sleep 0.2
done
echo "Slurm did not start; see $dir" >&2
sinfo >&2 || true
tail -5 ./*.out ./*.log >&2
exit 1
