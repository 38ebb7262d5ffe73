"""The shell commands of the simulated phone, as scripts for the host's shell and Python."""

# Commands that the phone has and the host lacks, or has in another form.
SCRIPTS = {
    "getprop": """
if [ $# = 0 ]; then cat "$PHONE/properties"; exit; fi
while IFS= read -r line; do
    case "$line" in "[$1]: ["*) line=${line#*: ?}; echo "${line%?}"; exit;; esac
done < "$PHONE/properties"
echo "$2"
""",
    "dumpsys": """
[ -e "$PHONE/dumpsys/$1" ] || { echo "Can't find service: $1" >&2; exit 0; }
cat "$PHONE/dumpsys/$1"
""",
    "taskset": """
mask=${1#0x}
case "$mask" in ''|*[!0-9a-fA-F]*) echo "taskset: bad mask '$1'" >&2; exit 1;; esac
[ $((0x$mask & 0xff)) != 0 ] || { echo "taskset: failed to set mask: Invalid argument" >&2; exit 1; }
shift
exec "$@"
""",
    "pm": """
command=$1; shift
apk=$PHONE/base.apk
case "$command" in
install)
    size= file=
    while [ $# -gt 0 ]; do
        case "$1" in -S) size=$2; shift;; -i|--user|--abi) shift;; -*) ;; *) file=$1;; esac
        shift
    done
    if [ -n "$size" ]; then file=$apk.new; head -c "$size" > "$file"; fi
    if [ "$(head -c 2 "$file")" != "#!" ]; then
        echo "Failure [INSTALL_PARSE_FAILED_NOT_APK: Failed to parse base.apk]"; exit 1
    fi
    cp "$file" "$apk"; chmod 755 "$apk"; rm -f "$apk.new"; echo Success;;
uninstall)
    [ -e "$apk" ] || { echo "Failure [DELETE_FAILED_INTERNAL_ERROR]"; exit 1; }
    rm "$apk"; echo Success;;
list)
    if [ -e "$apk" ]; then
        echo package:org.tensorflow.lite.benchmark
    fi
    echo package:com.android.shell;;
path)
    [ -e "$apk" ] && [ "$1" = org.tensorflow.lite.benchmark ] || exit 1
    echo "package:/data/app/~~test==/$1/base.apk";;
esac
""",
    "cmd": """
service=$1; shift
case "$service" in
package) exec pm "$@";;
*) echo "cmd: Can't find service: $service" >&2; exit 20;;
esac
""",
    "am": """
command=$1; shift
apk=$PHONE/base.apk
case "$command" in
force-stop) pkill -9 -f "$apk"; exit 0;;
start) ;;
*) exit 0;;
esac
arguments= component=
while [ $# -gt 0 ]; do
    case "$1" in
    -S) pkill -9 -f "$apk";;
    -n) component=$2; shift;;
    --es) [ "$2" = args ] && arguments=$3; shift 2;;
    esac
    shift
done
echo "Starting: Intent { cmp=$component (has extras) }"
if [ ! -e "$apk" ] || [ "${component%%/*}" != org.tensorflow.lite.benchmark ]; then
    echo "Error type 3" >&2
    echo "Error: Activity class {$component} does not exist." >&2
    exit 1
fi
set -f
PHONE_LOGCAT=$PHONE/logcat setsid "$apk" $arguments < /dev/null > /dev/null 2>&1 &
""",
    "logcat": """
clear= dump= tag=
while [ $# -gt 0 ]; do
    case "$1" in
    -c) clear=1;; -d) dump=1;; -s) tag=${2%%:*}; shift;; -v|-b|-t|-T) shift;;
    esac
    shift
done
if [ -n "$clear" ]; then : > "$PHONE/logcat"; exit; fi
filter() { if [ -n "$tag" ]; then grep --line-buffered " $tag *: "; else cat; fi; }
echo "--------- beginning of main"
if [ -n "$dump" ]; then filter < "$PHONE/logcat"; exit 0; fi
tail -n +1 -f "$PHONE/logcat" | filter
""",
    "settings": """
case "$1" in
put) echo "$4" > "$PHONE/setting.$2.$3";;
get) cat "$PHONE/setting.$2.$3" 2> /dev/null || echo null;;
delete) rm -f "$PHONE/setting.$2.$3"; echo "Deleted 1 rows";;
esac
""",
    "svc": "exit 0\n",
    "input": "exit 0\n",
}
# Commands that send a request to the phone object: finding its processes, rebooting.
CONTROL_COMMANDS = ("pkill", "pgrep", "pidof", "killall", "reboot")
ASK = """
import json, os, socket, sys
host, port = os.environ["PHONE_CONTROL"].split(":")
with socket.create_connection((host, int(port))) as phone:
    request = {"command": os.path.basename(sys.argv[0]), "arguments": sys.argv[1:], "pid": os.getpid()}
    phone.sendall(json.dumps(request).encode() + b"\\n")
    answer = json.loads(phone.makefile().readline())
print(answer["text"], end="")
sys.exit(answer["code"])
"""
