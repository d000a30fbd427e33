# SLURM sends SIGUSR1 to this shell alone, and `run` passes it on. When a job is cancelled, preempted or out of time,
# SLURM sends SIGTERM to every process, and this shell only waits for them: its end would end the others at once.
child=
warned=
signalled=
trap 'signalled=1; warned=1; [ -z "$child" ] || kill -USR1 "$child" 2>/dev/null' USR1
trap 'signalled=1' TERM

# Run a command to its end and set `code` to its exit code. A signal ends `wait` early, so repeat it.
run() {
    local status
    if [ -n "$warned" ]; then
        code=75
        return
    fi
    "$@" &
    child=$!
    signalled=1
    while [ -n "$signalled" ]; do
        signalled=
        wait "$child"
        status=$?
        [ "$status" -eq 127 ] || code=$status
    done
    child=
}

# End the job with `code`. 75: stopped by SIGUSR1; 138: by SIGUSR1 while it was starting. Both resume in the next run.
finish() {
    if [ "$code" -eq 75 ] || [ "$code" -eq 138 ]; then
        scontrol requeue "$SLURM_JOB_ID" || echo "SLURM did not requeue the job; submit it again to resume." >&2
    fi
    exit "$code"
}
