#!/usr/bin/env bash
# A sweep on the nodes of one Slurm job. To be submitted from the checkout, which all nodes see:
#
#   OPENAI_BASE_URL=http://host:8000/v1 sbatch clusters/launch/slurm.sh
#
#SBATCH --job-name=tts
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --requeue
# --exclusive: `ray symmetric-run` refuses a node on which a Ray runs already, and at its end stops all of the user's.
# --requeue: a job that Slurm starts again goes on with the run folder; what was paid for is not asked for again.
set -euo pipefail
: "${OPENAI_BASE_URL:?the model server, as the nodes see it}"

source .venv/bin/activate # `ray symmetric-run` looks for `ray` in PATH
ulimit -n "$(ulimit -Hn)" # every stream is a socket

# clusters/ray/environment.py: `srun` hands it on, and Ray reads it when its processes start.
export RAY_USAGE_STATS_ENABLED=0
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
export RAY_worker_niceness=0
export RAY_timeout_ms_task_wait_for_death_info=100
export RAY_health_check_period_ms=1000
export RAY_health_check_timeout_ms=3000
export RAY_health_check_failure_threshold=5
# The nodes are on a network with other users' jobs: only who knows this job's token gets in.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
# Ray's own 30 s are short where many nodes read Python from one file server.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
address="${nodes%%$'\n'*}:6379" # the first node is the head

# What follows `--` runs on the head only, and needs the address: without one `tts` would start a Ray of its own. The
# other nodes end a minute after it, when they have missed the head for so long.
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_PER_TASK" -- \
  python -m tts sweep problems.jsonl \
  --strategy single --strategy majority_vote:n=2,4,8,16 --concurrency 1024 \
  --cluster clusters/launch/cluster.yaml --address "$address" --out runs/first
