# scripts/bench pmake: sourced by it. A real C tree (Tcl 8.6, from Debian's sources) built in a cell of hosts with a
# fifth of a processor each and links of 1 Gbit/s: by one host alone, by pmake, by distcc and by icecream, inside the same
# quotas; then what pmake costs per recipe, and a build under evictions.
# shellcheck shell=bash
# shellcheck disable=SC2154  # figures, children and others are scripts/bench's
# shellcheck disable=SC2016  # what make and sh are to expand

PMAKE_CACHE=/var/tmp/hob-bench # the configured tree, kept between runs
PMAKE_PACKAGES=(distcc icecc dpkg-dev gcc make)
REPEATS=3 HOSTS=8 QUOTA=20 ONLY=

# Unpacks and configures it once.
prepare_tree() {
  [[ ! -e $PMAKE_CACHE/tcl-configured.tar ]] || return 0
  say "Fetching and configuring Tcl 8.6 ..."
  # Where it is built later: configure writes the path into the makefile.
  rm -rf "$PMAKE_CACHE/work" && mkdir -p "$PMAKE_CACHE/work"
  debian_source tcl8.6 "$PMAKE_CACHE/work/tcl" || die "no source of tcl8.6: the package sources of this machine have none"
  (cd "$PMAKE_CACHE/work/tcl/unix" && CFLAGS="-g -O2" ./configure --enable-64bit) >"$PMAKE_CACHE/configure.log" 2>&1 || die "configure failed: $PMAKE_CACHE/configure.log"
  tar cf "$PMAKE_CACHE/tcl-configured.tar.new" -C "$PMAKE_CACHE/work" tcl
  mv "$PMAKE_CACHE/tcl-configured.tar.new" "$PMAKE_CACHE/tcl-configured.tar"
}

processor_seconds() { # NODE
  awk '{printf "%.3f\n", $1 / 1e9}' "/sys/fs/cgroup/cpuacct/hob-cell-$HOB_CELL/$1/cpuacct.usage"
}
difference() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", b - a}'; }
median() { sort -n | awk '{v[NR] = $1} END {printf "%.3f\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
figure() { printf '%s %s\n' "$1" "$2" >>"$figures"; }
of() { awk -v name="$1" '$1 == name {print $2}' "$figures"; }

# distccd and iceccd of each host, in its namespaces and its quota, as the users that their packages made.
start_peers() {
  local i at
  mkdir -p /run/icecc # each host lays its own over it
  for ((i = 0; i < HOSTS; i++)); do
    cell exec -r "h$i" sh -c 'mkdir -p /run/hob/icecc && chown icecc: /run/hob/icecc && mount --bind /run/hob/icecc /run/icecc' </dev/null
  done
  start_peer h0 icecc-scheduler -n hob-bench -l "$(cell path h0)/icesched.log" -d
  sleep 1
  for ((i = 0; i < HOSTS; i++)); do
    at=$(cell address "h$i")
    start_peer "h$i" distccd --daemon --user distccd --allow 10.77.0.0/24 --listen "$at" --jobs 2 --nice 0 --log-level error
    start_peer "h$i" iceccd -d -s "$(cell address h0)" -n hob-bench -N "h$i" -m 1 -b "/var/tmp/hob-bench-icecc-$i" -l "$(cell path "h$i")/iceccd.log"
  done
  sleep 3
}
start_peer() { # HOST CMD...: daemons that go into the background themselves; `cell down` ends all of a host
  local host=$1
  shift
  cell exec -r "$host" "$@" </dev/null >/dev/null 2>&1 || die "$1 does not start on $host"
}

fresh_tree() {
  rm -rf "$PMAKE_CACHE/work" && mkdir -p "$PMAKE_CACHE/work"
  tar xf "$PMAKE_CACHE/tcl-configured.tar" -C "$PMAKE_CACHE/work"
  chmod -R a+rwX "$PMAKE_CACHE/work"
}

# What has been built, byte for byte.
digests() { (cd "$PMAKE_CACHE/work/tcl/unix" && sha256sum -- *.o *.a *.so tclsh); }

# What make builds here, outside of any cell: all that pmake builds must be the same.
build_reference() {
  fresh_tree
  make -j"$(nproc)" -C "$PMAKE_CACHE/work/tcl/unix" tclsh </dev/null >"$PMAKE_CACHE/work/log" 2>&1 ||
    die "make failed; its output: $PMAKE_CACHE/work/log"
  digests >"$PMAKE_CACHE/reference"
}

# build MODE: from the configured tree; prints wall seconds, and the processor seconds of home.
build_once() {
  local mode=$1 tree=$PMAKE_CACHE/work/tcl i
  local -a command=(make -j1) environment=()
  fresh_tree
  local hosts=''
  for ((i = 1; i < HOSTS; i++)); do hosts+=" $(cell address "h$i")/2"; done
  case $mode in
    alone) ;;
    pmake) command=(pmake) ;;
    pmake_out) command=(pmake -L 0) ;;
    distcc) command=(make -j16 "CC=distcc gcc") environment=("DISTCC_HOSTS=localhost/1$hosts") ;;
    distcc_out) command=(make -j16 "CC=distcc gcc") environment=("DISTCC_HOSTS=$hosts") ;;
    icecc) command=(make -j10 "CC=icecc gcc") environment=("ICECC_VERSION=$(echo "$PMAKE_CACHE"/icenv/*.tar.gz)") ;;
  esac
  environment+=("DISTCC_DIR=$PMAKE_CACHE/work" DISTCC_BACKOFF_PERIOD=0)
  local before start end
  before=$(processor_seconds h0)
  start=$(date +%s.%N)
  cell exec h0 env "${environment[@]}" "${command[@]}" -C "$tree/unix" tclsh </dev/null >"$PMAKE_CACHE/work/log" 2>&1 ||
    die "the build by $mode failed; its output: $PMAKE_CACHE/work/log"
  end=$(date +%s.%N)
  [[ $(echo 'puts ok' | LD_LIBRARY_PATH=$tree/unix TCL_LIBRARY=$tree/library "$tree/unix/tclsh") == ok ]] || die "what $mode built does not run"
  # distcc and icecream preprocess at home, which the debug information tells.
  case $mode in
    alone | pmake*) digests | diff "$PMAKE_CACHE/reference" - >&2 || die "$mode built other files than make does" ;;
  esac
  echo "$(difference "$start" "$end") $(difference "$before" "$(processor_seconds h0)")"
  [[ $mode != pmake* ]] || grep '^pmake:' "$PMAKE_CACHE/work/log" >&2 || true
}

compare_builds() {
  local mode repeat
  local -A walls=() homes=()
  for ((repeat = 1; repeat <= REPEATS; repeat++)); do
    for mode in ${ONLY:-alone pmake distcc icecc pmake_out distcc_out}; do
      [[ $mode != *_out || $repeat == 1 ]] || continue
      local wall home coordinator
      coordinator=$(processor_seconds coordinator)
      read -r wall home < <(build_once "$mode")
      [[ -n ${home:-} ]] || exit 1
      walls[$mode]+="$wall"$'\n' homes[$mode]+="$home"$'\n'
      [[ $mode != pmake ]] || figure "coordinator_percent_$repeat" \
        "$(awk -v c="$(difference "$coordinator" "$(processor_seconds coordinator)")" -v w="$wall" 'BEGIN {printf "%.3f", 100 * c / w}')"
      printf '  %d %-12s %8.1f s   home %6.2f s\n' "$repeat" "$mode" "$wall" "$home"
    done
  done
  for mode in "${!walls[@]}"; do
    figure "${mode}_s" "$(median <<<"${walls[$mode]%$'\n'}")"
    figure "${mode}_home_s" "$(median <<<"${homes[$mode]%$'\n'}")"
  done
}

# 1,000 `true`, two at a time and one after the other: local make, pmake on one other host, make over ssh with an open
# master connection.
recipe_overhead() {
  local dir=$PMAKE_CACHE/work/recipes n=1000
  rm -rf "$dir" && mkdir -p "$dir"
  printf '[make]\nout_commands = ["true"]\n' >"$dir/.remote.toml"
  printf 'all: $(patsubst %%,r%%,$(shell seq %d))\nr%%: ; @true\n' "$n" >"$dir/Makefile"
  chmod -R a+rwX "$dir"
  HOB_CELL=$HOB_CELL bring_up 2 idle=300ms
  local SSH=() seconds
  start_ssh
  printf '#!/bin/sh\nexec %s "$2"\n' "${SSH[*]}" >"$dir/ssh-shell" && chmod 755 "$dir/ssh-shell"
  local name
  timed() {
    local start
    name=$1
    shift
    start=$(date +%s.%N)
    cell exec h0 "$@" </dev/null >/dev/null 2>"$dir/err" || die "$name failed: $(tail -n 1 "$dir/err")"
    seconds=$(difference "$start" "$(date +%s.%N)")
    figure "recipes_$name" "$seconds"
    printf '  %-24s %8.3f s for %d recipes\n' "$name" "$seconds" "$n"
  }
  added() { awk -v a="$(of "recipes_$1")" -v b="$(of "recipes_$2")" -v n=$n 'BEGIN {printf "%.3f", (b - a) / n * 1000}'; }
  timed make_s make -s -j2 -C "$dir"
  timed pmake_s pmake -L 0 -s -j2 -C "$dir"
  timed ssh_s make -s -j2 -C "$dir" "SHELL=$dir/ssh-shell"
  figure recipe_overhead_ms "$(added make_s pmake_s)"
  figure ssh_overhead_ms "$(added make_s ssh_s)"
  # Where the processors have time, which two for all of this have not.
  timed make_one_s make -s -j1 -C "$dir"
  timed pmake_one_s pmake -L 0 -s -j1 -C "$dir"
  timed ssh_one_s make -s -j1 -C "$dir" "SHELL=$dir/ssh-shell"
  figure recipe_one_ms "$(added make_one_s pmake_one_s)"
  figure ssh_one_ms "$(added make_one_s ssh_one_s)"
}

# One owner comes back every two seconds, any of them, but the same in each run; his host is away for idle=1s, so 1/2 of
# a host's time is lost.
evicted_build() {
  local toucher wall home
  (
    RANDOM=1
    while :; do
      sleep 2
      "$ROOT/scripts/cell" touch "h$((RANDOM % (HOSTS - 1) + 1))"
    done
  ) &
  toucher=$!
  children+=("$toucher")
  read -r wall home < <(build_once pmake)
  kill "$toucher"
  [[ -n ${home:-} ]] || exit 1
  figure evicted_s "$wall"
  figure evicted_home_s "$home"
  figure evicted_lost "$(awk -v h="$HOSTS" 'BEGIN {printf "%.4f", 0.5 / h}')"
  figure evicted_slower "$(awk -v e="$wall" -v p="$(of pmake_s)" -v h="$HOSTS" 'BEGIN {printf "%.3f", e * (1 - 0.5 / h) / p}')"
}

pmake_bench() {
  while (($#)); do
    case $1 in
      --repeats) REPEATS=$2 ;;
      --hosts) HOSTS=$2 ;;
      --quota) QUOTA=$2 ;;
      --only) ONLY=$2 ;;
      *) die "pmake: unknown option '$1'" ;;
    esac
    shift 2
  done
  install_packages "${PMAKE_PACKAGES[@]}"
  prepare_tree
  if [[ ! -e $PMAKE_CACHE/icenv ]]; then
    mkdir -p "$PMAKE_CACHE/icenv.new" && (cd "$PMAKE_CACHE/icenv.new" && icecc-create-env gcc >/dev/null) && mv "$PMAKE_CACHE/icenv.new" "$PMAKE_CACHE/icenv"
  fi
  build_reference
  say "1,000 recipes that do nothing:"
  recipe_overhead
  cell down
  bring_up "$HOSTS" idle=1s "quota=$QUOTA" rate=1000
  start_peers
  say "Tcl 8.6 on $HOSTS hosts with $QUOTA % of a processor each:"
  compare_builds
  if [[ -z $ONLY || $ONLY == *pmake* ]]; then
    say "One eviction every 2 s:"
    evicted_build
  fi
  echo
  awk -v hosts="$HOSTS" '
    {v[$1] = $2}
    END {
      printf "%-12s %10s %12s %14s\n", "built by", "wall, s", "times faster", "home, s"
      split("alone pmake distcc icecc pmake_out distcc_out", mode, " ")
      alone = "alone_s" in v
      for (i = 1; i in mode; i++) if (mode[i] "_s" in v)
        printf "%-12s %10.1f %12s %14.2f\n", mode[i], v[mode[i] "_s"], alone ? sprintf("%.2f", v["alone_s"] / v[mode[i] "_s"]) : "-", v[mode[i] "_home_s"]
      if (alone) printf "%-12s %10.1f %12.2f\n", "ideal", v["alone_s"] / hosts, hosts
      split("distcc icecc distcc_out", other, " ")
      for (i = 1; i in other; i++) if (other[i] "_s" in v && (best == 0 || v[other[i] "_s"] < best)) best = v[other[i] "_s"]
      if (best && "pmake_s" in v) printf "pmake is %.2f times faster than the best of the others\n", best / v["pmake_s"]
      if ("evicted_s" in v) printf "evictions every 2 s: %.1f s, %.2f times the build without, less the lost share\n", v["evicted_s"], v["evicted_slower"]
      printf "recipe overhead: pmake %.2f ms, make over ssh %.2f ms; one after the other %.2f and %.2f ms\n\n",
        v["recipe_overhead_ms"], v["ssh_overhead_ms"], v["recipe_one_ms"], v["ssh_one_ms"]
    }' "$figures"
  {
    echo "hosts $HOSTS"
    cat "$figures"
  } >"$figures.all"
  mv "$figures.all" "$figures"
  print_json
}
