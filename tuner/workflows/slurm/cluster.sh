# One Ray cluster over all nodes of the job. Ports are free ones, and folders are new ones: any number of jobs can share
# a node. The nodes end with the job, because SLURM ends its steps.

# Start Ray on a node and wait until it ends; then remove its temporary folder.
# shellcheck disable=SC2317  # the nodes call it
start_ray() {
    local base=${TMPDIR:-/tmp} folder options ray status ending=
    # Sockets of Ray do not allow longer paths. Ray opens its folder to all users, so it is within one that is closed.
    [ ${#base} -le 27 ] && [ -w "$base" ] || base=/tmp
    folder=$(mktemp -d "$base/tune-XXXXXXXX") || return 5
    # If all this is killed, the lock is free, and the next command of tune on this node removes the folder.
    exec 9>"$folder/lock.new" && flock 9 && mv "$folder/lock.new" "$folder/lock"
    options=(--block --temp-dir="$folder/r" --num-cpus="$SLURM_CPUS_ON_NODE" --object-store-memory=104857600
        --include-log-monitor=false --dashboard-agent-listen-port=0)
    # Without it, the job did not ask SLURM for GPUs, and Ray uses those that it sees.
    [ -z "${SLURM_GPUS_ON_NODE:-}" ] || options+=(--num-gpus="$SLURM_GPUS_ON_NODE")
    if [ "$SLURM_NODEID" -eq 0 ]; then
        options+=(--head --node-ip-address="$host" --port="$port" --ray-client-server-port="$client_port"
            --include-dashboard=false)
    else
        options+=(--address="$host:$port")
    fi
    trap 'ending=1' TERM
    # Ray passes TMPDIR on to the trainers, whose temporary files are removed with its own.
    TMPDIR=$folder "$python" -P -m ray.scripts.scripts start "${options[@]}" >"$folder/output" 2>&1 &
    ray=$!
    wait "$ray"
    status=$?
    while kill -0 "$ray" 2>/dev/null; do
        wait "$ray"
        status=$?
    done
    if [ -z "$ending" ]; then
        echo "Ray has ended on ${SLURMD_NODENAME:-this node} with code $status:" >&2
        tail -n 20 "$folder/output" >&2
        # A node that never started makes the others useless, because the search waits for all.
        [ -e "$folder/r/ray_current_cluster" ] || scancel "$SLURM_JOB_ID.$SLURM_STEP_ID"
    fi
    # Trainers that are ending may still write.
    rm -rf "$folder" || { sleep 1 && rm -rf "$folder"; }
    return "$status"
}

# Whoever reaches a port of Ray can run code. So Ray requires a token, which exists only in the environment of the job's
# processes, where other users cannot read it.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# The kernel kills trainers first when memory runs short; Ray would kill their actors, which hold little.
export RAY_memory_monitor_refresh_ms=0
# Nothing is left to drain when SLURM ends the nodes, but Ray would wait for 30 s, until SLURM kills it.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
unset RAY_ADDRESS RAY_AUTH_TOKEN_PATH
chosen=$("$python" -P -m tuner.execution.job_cluster place) || exit 5
read -r host port client_port <<<"$chosen"

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpu-bind=none --mpi=none \
    --input=none --export=ALL --kill-on-bad-exit=0 --wait=0 \
    bash -c "$(declare -p python host port client_port); $(declare -f start_ray); start_ray" &
run "$python" -P -m tuner.execution.job_cluster await "$host:$port" "$SLURM_JOB_NUM_NODES" $!
[ "$code" -eq 0 ] || finish
arguments+=(--address "$host:$port")
