#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "pmake/programs.h"

/// The tables behind programs.cc. A new program is one line, in the order of the names.
namespace hob::pmake {

/// A program by name. `values` are its one-letter options that take a value in the next word.
struct Known {
  std::string_view name;
  Kind kind;
  std::string_view reason = {};  // Kind::home
  size_t skip = 0;               // Kind::reads: so many operands before the files (sed's script)
  std::string_view values = {};
  std::string_view walks = {};  // Kind::reads: options that make it read whole directories
};

inline constexpr std::string_view kRights = "needs this host's rights";
inline constexpr std::string_view kProcesses = "acts on processes of this host";
inline constexpr std::string_view kTraces = "traces, which a job may not";
inline constexpr std::string_view kInstalls = "installs on this host";
inline constexpr std::string_view kContainers = "talks to a daemon of this host";
inline constexpr std::string_view kNetwork = "talks to other hosts itself";
inline constexpr std::string_view kConfigures = "looks at this host";

inline constexpr auto kKnown = std::to_array<Known>({
    {".", Kind::unknown},
    {":", Kind::cheap},
    {"[", Kind::cheap},
    {"[[", Kind::cheap},
    {"alias", Kind::cheap},
    {"apt", Kind::home, kInstalls},
    {"apt-get", Kind::home, kInstalls},
    {"ar", Kind::reads, {}, 1},
    {"basename", Kind::cheap},
    {"bmake", Kind::make},
    {"break", Kind::cheap},
    {"buildah", Kind::home, kContainers},
    {"cat", Kind::reads},
    {"cd", Kind::cheap},
    {"chgrp", Kind::cheap},
    {"chmod", Kind::cheap},
    {"chown", Kind::cheap},
    {"chroot", Kind::home, kRights},
    {"cmp", Kind::reads},
    {"continue", Kind::cheap},
    {"cp", Kind::reads, {}, 0, "tS", "rRa"},
    {"curl", Kind::home, kNetwork},
    {"cut", Kind::reads, {}, 0, "bcdf"},
    {"date", Kind::cheap},
    {"diff", Kind::reads, {}, 0, {}, "rR"},
    {"dirname", Kind::cheap},
    {"docker", Kind::home, kContainers},
    {"docker-compose", Kind::home, kContainers},
    {"echo", Kind::cheap},
    {"egrep", Kind::reads, {}, 1, "mABC", "rR"},
    {"exit", Kind::cheap},
    {"export", Kind::cheap},
    {"expr", Kind::cheap},
    {"false", Kind::cheap},
    {"fgrep", Kind::reads, {}, 1, "mABC", "rR"},
    {"fuser", Kind::home, kProcesses},
    {"gdb", Kind::home, kTraces},
    {"gdbserver", Kind::home, kTraces},
    {"git", Kind::home, "has its settings and keys on this host"},
    {"gmake", Kind::make},
    {"grep", Kind::reads, {}, 1, "mABC", "rR"},
    {"hash", Kind::cheap},
    {"head", Kind::reads, {}, 0, "nc"},
    {"hostname", Kind::cheap},
    {"id", Kind::cheap},
    {"insmod", Kind::home, kRights},
    {"install", Kind::home, kInstalls},
    {"install-info", Kind::home, kInstalls},
    {"install-sh", Kind::home, kInstalls},
    {"ip", Kind::home, kRights},
    {"iptables", Kind::home, kRights},
    {"join", Kind::reads},
    {"journalctl", Kind::home, kProcesses},
    {"kill", Kind::home, kProcesses},
    {"killall", Kind::home, kProcesses},
    {"ldconfig", Kind::home, kInstalls},
    {"lldb", Kind::home, kTraces},
    {"ln", Kind::cheap},
    {"local", Kind::cheap},
    {"losetup", Kind::home, kRights},
    {"ls", Kind::cheap},
    {"lsof", Kind::home, kProcesses},
    {"ltrace", Kind::home, kTraces},
    {"make", Kind::make},
    {"mkdir", Kind::cheap},
    {"mkfifo", Kind::cheap},
    {"mkinstalldirs", Kind::cheap},
    {"mktemp", Kind::cheap},
    {"modprobe", Kind::home, kRights},
    {"mount", Kind::home, kRights},
    {"mv", Kind::cheap},
    {"ninja", Kind::make},
    {"nproc", Kind::cheap},
    {"perf", Kind::home, kTraces},
    {"pgrep", Kind::home, kProcesses},
    {"pidof", Kind::home, kProcesses},
    {"pkexec", Kind::home, kRights},
    {"pkill", Kind::home, kProcesses},
    {"pmake", Kind::make},
    {"podman", Kind::home, kContainers},
    {"printf", Kind::cheap},
    {"ps", Kind::home, kProcesses},
    {"pwd", Kind::cheap},
    {"ranlib", Kind::reads},
    {"read", Kind::cheap},
    {"readlink", Kind::cheap},
    {"readonly", Kind::cheap},
    {"realpath", Kind::cheap},
    {"remake", Kind::make},
    {"return", Kind::cheap},
    {"rm", Kind::cheap},
    {"rmdir", Kind::cheap},
    {"rmmod", Kind::home, kRights},
    {"rr", Kind::home, kTraces},
    {"rsync", Kind::home, kNetwork},
    {"samu", Kind::make},
    {"scp", Kind::home, kNetwork},
    {"sed", Kind::reads, {}, 1, "l"},
    {"seq", Kind::cheap},
    {"service", Kind::home, kProcesses},
    {"set", Kind::cheap},
    {"sftp", Kind::home, kNetwork},
    {"shift", Kind::cheap},
    {"sort", Kind::reads, {}, 0, "ktoST"},
    {"ssh", Kind::home, kNetwork},
    {"ssh-add", Kind::home, kNetwork},
    {"stat", Kind::cheap},
    {"strace", Kind::home, kTraces},
    {"su", Kind::home, kRights},
    {"svn", Kind::home, kNetwork},
    {"swapon", Kind::home, kRights},
    {"sync", Kind::home, "is about this host's disks"},
    {"sysctl", Kind::home, kRights},
    {"systemctl", Kind::home, kProcesses},
    {"tail", Kind::reads, {}, 0, "nc"},
    {"tee", Kind::cheap},
    {"test", Kind::cheap},
    {"touch", Kind::cheap},
    {"tr", Kind::cheap},
    {"trap", Kind::cheap},
    {"true", Kind::cheap},
    {"tty", Kind::cheap},
    {"type", Kind::cheap},
    {"ulimit", Kind::cheap},
    {"umask", Kind::cheap},
    {"umount", Kind::home, kRights},
    {"unalias", Kind::cheap},
    {"uname", Kind::cheap},
    {"uniq", Kind::reads, {}, 0, "fsw"},
    {"unset", Kind::cheap},
    {"unshare", Kind::home, kRights},
    {"update-rc.d", Kind::home, kInstalls},
    {"wait", Kind::cheap},
    {"wc", Kind::reads},
    {"wget", Kind::home, kNetwork},
    {"which", Kind::cheap},
    {"whoami", Kind::cheap},
});
constexpr bool by_name(const Known& a, const Known& b) {
  return a.name < b.name;
}
static_assert(std::is_sorted(kKnown.begin(), kKnown.end(), by_name));

/// A program that runs the command in its own words: "nice -n 5 CC ...".
struct Prefix {
  std::string_view name;
  std::string_view values = {};  // one-letter options that take the next word
  size_t operands = 0;           // so many operands before the command
  bool assignments = false;      // NAME=VALUE before the command
  bool held = false;             // it needs this host
};
inline constexpr auto kPrefixes = std::to_array<Prefix>({
    {"builtin"},
    {"busybox"},
    {"command"},
    {"doas", "uC", 0, true, true},
    {"env", "uCS", 0, true},
    {"exec", "a"},
    {"fakeroot", "lsibf", 0, false},
    {"flock", "wE", 1, false, true},
    {"ionice", "cnp"},
    {"nice", "n"},
    {"nohup"},
    {"remote-cc"},
    {"setsid"},
    {"stdbuf", "ioe"},
    {"sudo", "ugCDhpRTU", 0, true, true},
    {"time", "fo"},
    {"timeout", "ks", 1},
    {"xargs", "adEILnPs"},
});
static_assert(std::is_sorted(kPrefixes.begin(), kPrefixes.end(),
                             [](const Prefix& a, const Prefix& b) { return a.name < b.name; }));

}  // namespace hob::pmake
