# What the scripts share: words for people, the packages of the project, the build. Source it; it changes
# nothing by being sourced. Sets ROOT, the top of the source tree.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  warn "$@"
  exit 1
}

need_root() { ((EUID == 0)) || die "$1 needs root; run: sudo $0 ..."; }

# By what needs them, so that it shows when one is not needed any more.
# shellcheck disable=SC2034  # the scripts that source this use it
PACKAGES=(
  # build
  g++ cmake ninja-build ccache pkg-config protobuf-compiler scdoc
  # libraries of the product
  libzmq3-dev cppzmq-dev libevdev-dev libsqlite3-dev libcli11-dev libprotobuf-dev libtomlplusplus-dev
  libspdlog-dev libfmt-dev libssl-dev liblz4-dev libxxhash-dev libseccomp-dev libcap-dev
  # tests
  catch2 librapidcheck-dev libumockdev-dev umockdev python3
  # the test cell, the demo, the benchmarks
  iproute2 util-linux procps xz-utils zstd openssh-server openssh-client valgrind
  # what pmake runs, its tests, and what the demo builds with it
  gcc make bmake dpkg-dev
)
# Only for the fuzz preset.
# shellcheck disable=SC2034
FUZZ_PACKAGES=(clang-14 libclang-rt-14-dev)

# What a cell needs of the build.
# shellcheck disable=SC2034
PROGRAMS=(hob-coordinator hob-hostd hob-starter remote hob-cell hob-look pmake)
# Those, and what lies beside them.
# shellcheck disable=SC2034
PROGRAM_FILES=("${PROGRAMS[@]}" recipe/sh recipe/whole recipe/ninja-shell.so)

# missing_packages NAME...: those that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\n' "$name"
  done
}

# install_packages NAME...: silent if nothing is missing.
install_packages() {
  local -a missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  need_root "installing packages (${missing[*]})"
  say "Installing ${#missing[@]} packages: ${missing[*]}"
  local log
  log=$(mktemp)
  # Debian starts sshd when it is installed; the cell starts its own, inside its namespaces alone.
  local policy=/usr/sbin/policy-rc.d made_policy=
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=yes
  fi
  local status=0
  {
    apt-get -q update || true # a stale list is no reason to stop: the install says what is missing
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null || status=$?
  [[ -z $made_policy ]] || rm -f "$policy"
  if ((status)); then
    tail -n 20 "$log" >&2
    die "apt-get install failed (all of it: $log); mend the package sources, then run this again"
  fi
  rm -f "$log"
}

# debian_source PACKAGE DIR: its unpacked source becomes DIR, which must not be there. By Debian's own package list with
# deb-src in place of deb, in directories of ours. False: this machine's package sources have none.
debian_source() {
  local package=$1 dir=$2 work list
  work=$(mktemp -d /var/tmp/hob-source.XXXXXX)
  mkdir -p "$work/parts" "$work/lists/partial"
  chmod -R 755 "$work"
  for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ ! -s $list ]] || sed -n 's/^deb /deb-src /p' "$list" >"$work/parts/$(basename "$list" .list).list"
  done
  for list in /etc/apt/sources.list.d/*.sources; do
    [[ ! -s $list ]] || sed 's/^Types: deb$/Types: deb-src/' "$list" >"$work/parts/$(basename "$list")"
  done
  local -a apt=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists")
  local status=0
  {
    apt-get "${apt[@]}" -q update || true # one stale list is no reason to stop
    (cd "$work" && apt-get "${apt[@]}" -q source "$package") && mv "$work/$package"*/ "$dir"
  } >"$work/log" 2>&1 </dev/null || status=1
  rm -rf "$work"
  return "$status"
}

# as_source_owner CMD...: as the user who owns the source tree, so that `sudo scripts/...` leaves no files
# of root's in a user's clone.
as_source_owner() {
  local owner
  owner=$(stat -c %U "$ROOT")
  if ((EUID == 0)) && [[ $owner != root && $owner != UNKNOWN ]]; then
    runuser -u "$owner" -- "$@"
  else
    "$@"
  fi
}

# show_steps LOG: the last "[n/m]" of ninja's, again and again, as long as this script runs.
show_steps() {
  while kill -0 $$ 2>/dev/null; do
    printf '\r  %s ' "$(grep -o '^\[[0-9]*/[0-9]*\]' "$1" 2>/dev/null | tail -n 1)" >&2
    sleep 1
  done
}

# build PRESET [TARGET...]: configures and builds; says nothing but that it does, and what failed.
build() {
  local preset=$1 log status=0 start=$SECONDS shown=''
  shift
  local -a target=()
  (($# == 0)) || target=(--target "$@")
  log=$(mktemp)
  say "Building ($preset) ..."
  if [[ -t 2 ]]; then
    show_steps "$log" 8>&- & # the lock of a cell
    shown=$!
  fi
  (cd "$ROOT" && as_source_owner cmake --preset "$preset" &&
    as_source_owner cmake --build --preset "$preset" "${target[@]}") >"$log" 2>&1 </dev/null || status=$?
  if [[ -n $shown ]]; then
    kill "$shown" 2>/dev/null || true
    wait "$shown" 2>/dev/null || true
    printf '\r\033[K' >&2
  fi
  if ((status)); then
    grep -E -A8 'error:|FAILED|CMake Error' "$log" | head -n 60 >&2 || tail -n 40 "$log" >&2
    die "the build failed (all of it: $log)"
  fi
  rm -f "$log"
  say "Built in $((SECONDS - start)) s."
}

# wait_until SECONDS CMD...: true as soon as CMD is, false when the time is over.
wait_until() {
  local deadline=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@"; do
    (($(date +%s%N) < deadline)) || return 1
    sleep 0.02
  done
}
