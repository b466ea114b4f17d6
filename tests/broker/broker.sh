#!/usr/bin/env bash
# A real Kafka broker on this machine: for tests, benches and `make demo-kafka`.
#
#   broker.sh start [--dir DIR] [--port N] [--partitions N] [--nodes 1|2] [--owner PID] [--set KEY=VALUE]… [--secure KEYS]
#   broker.sh stop | kill | restart [--dir DIR]
#   broker.sh fetch                 get the jars, once; needs Maven and the network that first time
#   broker.sh tool CLASS [ARG…]     a tool of org.apache.kafka.tools, such as TopicCommand
#   broker.sh java                  print the Java to use (17 or newer), or fail
#
# `start` and `restart` print one line to stdout, 127.0.0.1:PORT, once the broker answers; all
# talk is on stderr. DIR holds everything of one broker: its configuration, pid, log and data.
# Brokers in different DIRs do not know of each other. A stopped or killed broker comes back on
# its port, with its data, by `restart`.
#
# --nodes 2: a cluster of two that hold a copy each; both are printed, with a comma. The second is
# DIR/second to `stop`, `kill` and `restart`; it is not the controller, so the first goes on alone.
#
# --set KEY=VALUE: a setting of the brokers besides those below.
#
# --secure KEYS: more listeners beside the plain one, whose addresses follow on the same line: TLS, mutual
# TLS, and SASL (SCRAM-SHA-512 and PLAIN) over TLS. KEYS is a folder: broker.pem (key and certificate), ca.pem
# (who signs clients), plain.jaas (users of PLAIN, as a JAAS entry names them). Nothing is allowed to anyone
# without an ACL, but to those who come without a name: by the plain listener, and by TLS.
#
# --owner PID: when that process is gone, however it went, the broker is killed and its data
# deleted (the log stays). A test runner has no better moment to clean up: statics never drop.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}/kafka-4.3.1
start_timeout_s=60
stop_timeout_s=20
# What `--secure` names.
secure=''

# C1 only and the serial collector: measured on two cores, the broker starts in a third less time
# and spends a quarter less CPU over its first 8 million records, and C2 is no better after them
# (a broker copies bytes). The archive of loaded classes, written by `fetch`, saves 2 s a start;
# a Java that did not write it ignores it.
jvm=(-Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto
  "-XX:SharedArchiveFile=$cache/classes.jsa" -Xlog:disable
  -Dorg.slf4j.simpleLogger.showDateTime=true
  "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS")

say() { echo "$*" >&2; }
# A message, then what to do about it.
fail() {
  say "error: $1"
  [ $# -lt 2 ] || { say && say "hint: $2"; }
  exit 1
}

# Kafka 4 runs on Java 17 or newer. The one on the path may be older (Ubuntu 22.04's Maven brings
# 11) while another is installed beside it. Its `release` file is read: starting each to ask is slow.
java_path() {
  local candidate home version
  for candidate in "${JAVA_HOME:-/none}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$candidate" ] || continue
    home=$(dirname "$(dirname "$(readlink -f "$candidate")")")
    if [ -r "$home/release" ]; then
      version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$home/release")
    else
      version=$("$candidate" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
    fi
    if [ "${version:-0}" -ge 17 ]; then
      echo "$candidate"
      return
    fi
  done
  fail "no java 17 or newer found" "run \`tests/setup.sh test\`, or set JAVA_HOME"
}

# The class path is spelled out and in one order, as the archive of classes demands.
java_run() {
  local jars=("$cache"/jars/*.jar)
  "$java" "${jvm[@]}" -cp "$(IFS=: && echo "${jars[*]}")" "$@"
}

# Jars, a formatted folder and the class archive, made once for each pom.xml under a lock, in a
# folder of its own first: what is in the cache is complete.
fetch() {
  java=$(java_path)
  if cmp -s "$here/pom.xml" "$cache/pom.xml"; then return; fi
  mkdir -p "$(dirname "$cache")"
  exec 9>"$cache.lock"
  flock 9
  if ! cmp -s "$here/pom.xml" "$cache/pom.xml"; then fetch_locked; fi
  exec 9>&-
}

fetch_locked() {
  command -v mvn >/dev/null || fail "maven is needed to fetch kafka, and \`mvn\` is not on the path" \
    "run \`tests/setup.sh test\`"
  say "fetching kafka (about 45 MB, once) into $cache"
  rm -rf "$cache"
  mkdir -p "$cache"
  mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$cache/jars" >"$cache/mvn.log" 2>&1 9>&- || {
    head -n 4 "$cache/mvn.log" >&2
    fail "maven could not fetch kafka; its output is in $cache/mvn.log" \
      "this needs Maven Central, or a mirror of it in ~/.m2/settings.xml"
  }
  local warm="$cache/warm"
  configure "$warm" 1 1
  java_run kafka.tools.StorageTool format --cluster-id=AAAAAAAAAAAAAAAAAAAAAA -c "$warm/server.properties" >"$cache/format.log" 2>&1 9>&- ||
    fail "kafka could not format a folder; its output is in $cache/format.log"
  cp -r "$warm/data" "$cache/template"
  # A broker that starts and stops once leaves the archive of its classes. Without one all works,
  # only slower; one that is not whole is worse than none.
  local jvm=("${jvm[@]/-XX:SharedArchiveFile=/-XX:ArchiveClassesAtExit=}")
  if ! { launch "$warm" && stop "$warm"; }; then
    say "warning: no class archive was written; brokers will start slower"
    kill_now "$warm"
    rm -f "$cache/classes.jsa"
  fi
  rm -rf "$warm"
  cp "$here/pom.xml" "$cache/pom.xml"
}

# A port that nobody listens on, below the range that outgoing connections use. Two brokers that
# start at once may still draw the same; `start` then draws again.
free_port() {
  local port
  for _ in {1..200}; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  fail "no free port found between 20000 and 32000"
}

# configure DIR PARTITIONS COPIES [PORT]
configure() {
  local dir=$1 partitions=$2 copies=$3 port=${4:-$(free_port)} controller
  controller=$(free_port)
  while [ "$controller" = "$port" ]; do controller=$(free_port); done
  mkdir -p "$dir"
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
num.partitions=$partitions
# A copy on each node.
default.replication.factor=$copies
offsets.topic.replication.factor=$copies
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=1
# Fewer internal partitions: the first group and the first transaction wait for their creation.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
# The first member of a group need not wait 3 s for others.
group.initial.rebalance.delay.ms=0
# 10 MB of index files for each partition, and 128 MB of the cleaner's, are too much here.
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
# All else is Kafka's default, above all the time-outs of sessions and transactions: what the
# tests see of them is what a user sees.
PROPERTIES
  [ "${#settings[@]}" = 0 ] || printf '%s\n' "${settings[@]}" >>"$dir/server.properties"
  [ -z "$secure" ] || configure_security "$dir"
}

# configure_security DIR: what --secure adds.
configure_security() {
  local name ports='' port listeners='' map='' jaas=org.apache.kafka.common.security
  for name in TLS MTLS SASL; do
    port=$(free_port)
    while grep -q ":$port\b" "$1/server.properties" || [[ $ports == *" $port "* ]]; do port=$(free_port); done
    ports+=" $port "
    listeners+=",$name://127.0.0.1:$port"
    case $name in SASL) map+=",$name:SASL_SSL" ;; *) map+=",$name:SSL" ;; esac
  done
  sed -i -e "s|^listeners=.*|&$listeners|" -e "s|^listener.security.protocol.map=.*|&$map|" "$1/server.properties"
  cat >>"$1/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$secure/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$secure/ca.pem
listener.name.mtls.ssl.client.auth=required
# The principal of a certificate is its common name.
listener.name.mtls.ssl.principal.mapping.rules=RULE:^CN=([^,]+).*\$/\$1/
listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl.scram-sha-512.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
listener.name.sasl.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required $(cat "$secure/plain.jaas");
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
PROPERTIES
}

# configure_second DIR: the second node of the cluster whose first is configured in DIR.
configure_second() {
  local port
  port=$(free_port)
  # The first does not listen yet.
  while grep -q ":$port\b" "$1/server.properties"; do port=$(free_port); done
  rm -rf "$1/second"
  mkdir -p "$1/second"
  sed -e 's/^process.roles=.*/process.roles=broker/' -e 's/^node.id=.*/node.id=2/' \
    -e "s|^listeners=.*|listeners=PLAINTEXT://127.0.0.1:$port|" \
    -e "s|^log.dirs=.*|log.dirs=$1/second/data|" "$1/server.properties" >"$1/second/server.properties"
  cp -r "$1/data" "$1/second/data"
  sed -i -e 's/^node.id=.*/node.id=2/' -e "s/^directory.id=.*/directory.id=$(uuid)/" \
    "$1/second/data/meta.properties"
}

# As Kafka writes them.
uuid() { head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='; }

# The listener's port, as configured.
port_of() { sed -n 's/^listeners=PLAINTEXT:..127.0.0.1:\([0-9]*\).*/\1/p' "$1/server.properties"; }

# The addresses that --secure adds, each behind a blank: TLS, mutual TLS, SASL.
secure_addresses() {
  [ -z "$secure" ] || sed -n 's/^listeners=//p' "$1/server.properties" | tr ',' '\n' |
    sed -n 's/^\(TLS\|MTLS\|SASL\):../ /p' | tr -d '\n'
}

# Whether the process in DIR/pid is this broker. A pid may have been given to another process
# since, and a killed broker stays a zombie where init does not reap: both have other arguments.
alive() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) && [ -n "$pid" ] &&
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -F "kafka.Kafka $1/server.properties" >/dev/null
}

# await SECONDS COMMAND…: until the command succeeds, or time is up.
await() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.02
  done
}

gone() { ! alive "$1"; }
# Between fork and exec a child still has our arguments, not Java's.
alive_or_gone() { alive "$1" || ! kill -0 "$(cat "$1/pid")" 2>/dev/null; }
# Kafka logs this line after its controller has let the broker in; clients may come from then on.
answers_or_gone() {
  { grep -q 'Kafka Server started' "$1/kafka.log" && (: <>"/dev/tcp/127.0.0.1/$(port_of "$1")") 2>/dev/null; } || gone "$1"
}

# Starts the broker configured in DIR and waits until it answers. It holds none of our open files
# (a caller reads our stdout to its end) and has a session of its own: Ctrl-C is for the caller.
launch() {
  local dir=$1 jars=("$cache"/jars/*.jar)
  : >>"$dir/kafka.log"
  [ ! -s "$dir/kafka.log" ] || cat "$dir/kafka.log" >>"$dir/kafka.log.before"
  : >"$dir/kafka.log"
  setsid "$java" "${jvm[@]}" -cp "$(IFS=: && echo "${jars[*]}")" kafka.Kafka "$dir/server.properties" \
    </dev/null >"$dir/kafka.log" 2>&1 9>&- &
  echo $! >"$dir/pid"
  await 10 alive_or_gone "$dir" && await "$start_timeout_s" answers_or_gone "$dir" && alive "$dir"
}

# Kills the broker once its owner is gone.
guard() {
  tail --pid="$owner" -f /dev/null
  kill_now "$dir"
  kill_now "$dir/second"
  rm -rf "$dir/data" "$dir/second/data"
}

start() {
  ! alive "$dir" || fail "a broker already runs in $dir" "stop it, or name another folder with --dir"
  [ ! -e "$dir/server.properties" ] || fail "$dir already holds a broker's data" \
    "\`restart\` brings it back; delete the folder to begin anew"
  [ -z "$port" ] || ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is in use" "leave --port out"
  fetch
  if [ -n "$owner" ]; then
    setsid "$here/broker.sh" guard --dir "$dir" --owner "$owner" </dev/null >/dev/null 2>&1 &
  fi
  for _ in 1 2 3; do
    configure "$dir" "$partitions" "$nodes" "$port"
    rm -rf "$dir/data"
    cp -r "$cache/template" "$dir/data"
    # As the folder formatted, but another cluster: a client that meets the wrong one says so.
    sed -i "s/^cluster.id=.*/cluster.id=$(uuid)/" "$dir/data/meta.properties"
    # The second copies what is there before the first writes to it.
    [ "$nodes" = 1 ] || configure_second "$dir"
    if launch "$dir"; then
      local address
      address=127.0.0.1:$(port_of "$dir")
      if [ "$nodes" = 2 ]; then
        start_second
        address+=,127.0.0.1:$(port_of "$dir/second")
      fi
      echo "$address$(secure_addresses "$dir")"
      return
    fi
    # Someone else took the port meanwhile: draw others.
    grep -q 'Address already in use' "$dir/kafka.log" || break
  done
  failed_to_start
}

start_second() {
  launch "$dir/second" && return
  kill_now "$dir"
  dir=$dir/second
  failed_to_start
}

failed_to_start() {
  local what="ended while it started"
  ! alive "$dir" || what="did not start within $start_timeout_s s"
  kill_now "$dir"
  tail -n 15 "$dir/kafka.log" >&2
  fail "kafka $what in $dir; its last lines are above" "the whole log is $dir/kafka.log"
}

# Fails if the broker did not go by itself.
stop() {
  alive "$1" || return 0
  kill "$(cat "$1/pid")" 2>/dev/null || true
  await "$stop_timeout_s" gone "$1" && return
  say "warning: kafka did not stop within $stop_timeout_s s and was killed"
  kill_now "$1"
  return 1
}

kill_now() {
  alive "$1" || return 0
  kill -9 "$(cat "$1/pid")" 2>/dev/null || true
  await 10 gone "$1" || fail "process $(cat "$1/pid") survives kill -9"
}

restart() {
  [ -e "$dir/server.properties" ] || fail "no broker was started in $dir" "use \`start\`"
  stop "$dir" || true
  fetch
  launch "$dir" || failed_to_start
  echo "127.0.0.1:$(port_of "$dir")"
}

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 64
}

[ $# -ge 1 ] || usage
command=$1
shift

case $command in
fetch | start | stop | kill | restart | guard) ;;
java) java_path && exit ;;
tool)
  [ $# -ge 1 ] || usage
  fetch
  jvm=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
  class=$1
  shift
  java_run "org.apache.kafka.tools.$class" "$@"
  exit
  ;;
*) usage ;;
esac

dir=${TMPDIR:-/tmp}/foretell-kafka-$(id -u) port='' partitions=1 nodes=1 owner='' settings=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "\`$1\` needs a value"
  case $1 in
  --dir) dir=$2 ;;
  --port) port=$2 ;;
  --partitions) partitions=$2 ;;
  --nodes) nodes=$2 ;;
  --owner) owner=$2 ;;
  --set) settings+=("$2") ;;
  --secure) secure=$(realpath -m "$2") ;;
  *) fail "unknown option \`$1\`" "--dir, --port, --partitions, --nodes, --owner, --set and --secure are known" ;;
  esac
  shift 2
done
for number in "$port" "$partitions" "$owner"; do
  case $number in *[!0-9]*) fail "\`$number\` is not a whole number" ;; esac
done
case $nodes in 1 | 2) ;; *) fail "\`--nodes $nodes\` is neither 1 nor 2" ;; esac
dir=$(realpath -m "$dir")

case $command in
fetch) fetch ;;
start) start ;;
stop) stop "$dir" || true ;;
kill) kill_now "$dir" ;;
restart) restart ;;
guard) guard ;;
esac
