# Runs Kafka and never outlives jobgate: standard input is a pipe whose other end only jobgate holds,
# so the kernel closes it however jobgate ends. Arguments: seconds of grace, then the java command.
# Standard error is the lock file of the data directory: Kafka inherits it, so that the lock is held
# for exactly as long as Kafka lives. The one line on standard output is Kafka's process id.
grace_s=$1
shift
# A TERM to the whole group reaches Kafka too; this shell stays to report how Kafka ended.
trap : HUP INT TERM
exec 3<&0 4>&2 2>>server.log
"$@" </dev/null >>server.log 2>&1 3<&- &
java=$!
{
    trap : HUP INT TERM
    while read -r _; do :; done
    kill -TERM "$java"
    # A frozen process takes the TERM only once it is thawed.
    kill -CONT "$java"
    left_ds=$((grace_s * 10))
    while [ "$left_ds" -gt 0 ] && kill -0 "$java"; do
        sleep 0.1
        left_ds=$((left_ds - 1))
    done
    kill -KILL "$java"
} <&3 >/dev/null 2>&1 3<&- 4>&- &
watch=$!
exec 3<&-
echo "$java"
exec >/dev/null
# A trapped signal ends `wait` early, so ask again until the process is really gone.
while :; do
    wait "$java"
    status=$?
    kill -0 "$java" 2>/dev/null || break
done
# Its last `sleep`, which holds nothing, may go on for a tenth of a second.
kill -KILL "$watch" 2>/dev/null
exit "$status"
