#!/usr/bin/env bash
# What a program gets on another host, and what comes back, is what it would be at home.
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
up 2 idle=500ms
cd "$WORK"

ends_with 0 on h0 remote run true </dev/null
ends_with 1 on h0 remote run false </dev/null
ends_with 42 on h0 remote run sh -c 'exit 42' </dev/null
ends_with 127 on h0 remote run no-such-program </dev/null
ends_with 126 on h0 remote run /etc/passwd </dev/null
ends_with 143 on h0 bash -c 'remote run sh -c "kill -TERM \$\$"; exit $?' </dev/null

# Printed by the same script twice, once remotely.
cat >show.py <<'END'
import os, resource, signal, socket, sys
for argument in sys.argv[1:]: print(os.fsencode(argument))
for name in sorted(os.environb):
    if not name.startswith(b"REMOTE_"): print(name, os.environb[name])
print(os.getcwd(), oct(os.umask(0)), socket.gethostname(), os.getuid(), os.getgid(), os.getgroups())
print([resource.getrlimit(l) for l in (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_CORE)])
print([signal.getsignal(s) for s in (signal.SIGPIPE, signal.SIGINT, signal.SIGHUP)])
print([os.isatty(fd) for fd in (0, 1, 2)])
END
cat >both.sh <<'END'
umask 027
ulimit -n 512
arguments=("" " " $'tab\tline\nend' $'\xff\x80 not UTF-8' '--' '-v' '*' "\$HOME" 'ünï')
export ODD=$'\xfe\n=' EMPTY=
exec "$@" python3 show.py "${arguments[@]}" </dev/null
END
on h0 bash both.sh >local.txt
on h0 bash both.sh remote run >remote.txt
same_file "arguments, environment, directory, umask, limits, ids" local.txt remote.txt

# Streams, byte for byte: all of stdin comes out of stdout, stderr is apart.
head -c 3000000 /dev/urandom >input
on h0 remote run sh -c 'cat; echo one >&2; printf two >&2' <input >output 2>errors
same_file "stdin to stdout" input output
equal "stderr" $'one\ntwo' "$(cat errors)"
: | on h0 remote run wc -c >count
equal "empty stdin" 0 "$(tr -d ' ' <count)"

# A reader that goes away ends a writer, as in any pipe.
equal "broken pipe" "y" "$(on h0 remote run yes </dev/null | head -n 1)"

# What is closed or unreadable here does not look like success there.
ends_with 1 on h0 bash -c 'remote run sh -c "echo lost 2>/dev/null" >&-' </dev/null
ends_with 1 on h0 bash -c 'remote run sh -c "read line 2>/dev/null" <&-' </dev/null
ends_with 125 on h0 remote run cat </ 2>errors
matches "a directory as stdin" "Is a directory" "$(cat errors)"

on h0 remote run sh -c 'echo made >made' </dev/null
equal "a file it wrote" made "$(cat made)"
equal "its owner" "$(stat -c %u local.txt)" "$(stat -c %u local.txt)"
