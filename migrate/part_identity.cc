#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "base/fd.h"
#include "migrate/parts.h"
#include "migrate/program.h"

/// Identity: credentials (always those of the vouched-for user), limits, personality, and the
/// confinement that every guest has (the same steps as confine(), by injected calls).
namespace hob::migrate {
namespace {

// What nests inside the sandbox would be lost.
void check_namespaces(Inspection& i) {
  const Tid init{i.guest.sandbox ? i.guest.sandbox->init() : ::getpid()};
  for (const char* kind :
       {"ns/pid_for_children", "ns/mnt", "ns/user", "ns/uts", "ns/ipc", "ns/net", "ns/cgroup"}) {
    auto mine = read_link(proc::path(i.pid, kind)), holder = read_link(proc::path(init, kind));
    if (mine && holder && *mine != *holder)
      i.object("", std::string("it has a namespace of its own (") + kind + ")");
  }
}

void check(Inspection& i) {
  const Credentials& user = i.guest.user;
  for (uid_t uid : i.status.uid)
    if (uid != user.uid) return i.object("", "it runs as another user");
  for (gid_t gid : i.status.gid)
    if (gid != user.gid) return i.object("", "it runs with another group");
  if (i.status.effective) i.object("", "it has capabilities");
  if (i.status.tracer) i.object("", "it is being traced");
  const bool stranger = i.guest.sandbox == nullptr;
  if (!stranger && (!i.status.no_new_privileges || !i.status.seccomp))
    i.object("", "it is not confined as a guest");
  if (i.status.shadow_stack) i.object("", "it has a shadow stack");
  check_namespaces(i);
}

// What processes share without being threads of one, or threads have apart: each process is made
// anew with everything of its own.
Result<void> check_sharing(const CaptiveProcess& process) {
  // 0: the same, 1 to 3: different ones, in some order; -1: this kernel cannot tell.
  const auto compare = [](Tid a, Tid b, int what) {
    return ::syscall(SYS_kcmp, a.value, b.value, what, 0, 0);
  };
  const Tid parent{process.stat.parent};
  // Of shared descriptors part_files.cc speaks.
  for (const auto& [what, name] :
       {std::pair{KCMP_VM, "its memory"}, {KCMP_FS, "its working directory"}})
    if (process.node.parent > 1 && compare(process.pid, parent, what) == 0)
      return obstacle(process.name(), std::string("it shares ") + name + " with its parent");
  for (size_t i = 1; i < process.threads.size(); i++)
    for (int what : {KCMP_FILES, KCMP_FS})
      if (compare(process.pid, process.threads[i].tracee.tid(), what) > 0)
        return obstacle(process.name(),
                        "a thread of it has descriptors or a working directory of its own");
  return {};
}

Result<uint32_t> personality_of(Tid process) {
  return static_cast<uint32_t>(
      std::strtoul(TRY(proc::read(process, "personality")).c_str(), nullptr, 16));
}

Result<void> capture(ProcessCapture& c) {
  TRY(check_sharing(c.process));
  // Asked by the process itself: for us, prlimit(2) of another user's process is
  // CAP_SYS_RESOURCE's.
  const RemoteAddress limits = c.workspace.reserve(RLIM_NLIMITS * sizeof(rlimit64));
  for (uint64_t resource = 0; resource < RLIM_NLIMITS; resource++)
    c.leader.must("read a limit", SYS_prlimit64,
                  {0, resource, 0, limits.value + resource * sizeof(rlimit64)});
  c.out.personality = TRY(personality_of(c.process.pid));
  const RemoteAddress words = c.workspace.reserve(16);
  c.leader.must("read the parent-death signal", SYS_prctl, {PR_GET_PDEATHSIG, words.value});
  c.leader.must("read the subreaper flag", SYS_prctl, {PR_GET_CHILD_SUBREAPER, words.value + 4});
  c.leader.then(SYS_prctl, {PR_GET_DUMPABLE},
                [&c, words, limits](int64_t dumpable) -> Result<void> {
                  for (uint64_t resource = 0; resource < RLIM_NLIMITS; resource++) {
                    auto limit = c.workspace.get<rlimit64>(limits + resource * sizeof(rlimit64));
                    c.out.limits.push_back({limit.rlim_cur, limit.rlim_max});
                  }
                  c.out.dumpable =
                      dumpable != 0;  // 2, "root only", is for setuid programs, which no guest is
                  c.out.parent_death_signal = c.workspace.get<int32_t>(words);
                  c.out.subreaper = c.workspace.get<int32_t>(words + 4) != 0;
                  return {};
                });
  return {};
}

}  // namespace

Result<void> give_up_privileges(const Credentials& user) {
  if (::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) < 0)
    return Error::sys("set", "the groups");
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;)
    capability++;
  if (errno != EINVAL)
    return Error::sys("drop", "the bounding set");  // EINVAL: beyond the last one
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return Error::sys("clear", "the ambient capabilities");
  return {};
}

namespace {

void give_up_root(Rebuild& r, Batch& batch) {
  const uint64_t uid = r.guest.user.uid, gid = r.guest.user.gid;
  const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  batch.must("set the group", SYS_setresgid, {gid, gid, gid});
  batch.must("set the user", SYS_setresuid, {uid, uid, uid});
  batch.must("clear the capabilities", SYS_capset,
             {r.workspace.put(header).value, r.workspace.put(none).value});
}

/// The last calls that the filter would refuse, and the filter: 0.1 ms for each process.
void install_filter(Rebuild& r) {
  Batch& last = r.rights;
  // 0xffffffff would only ask. READ_IMPLIES_EXEC and its kin change how later mappings are made.
  last.must("set the personality", SYS_personality, {r.process.personality & 0x7fffffffu});
  last.must("forbid new privileges", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
  const sock_fprog& filter = seccomp_program();
  const RemoteAddress code =
      r.workspace.put_bytes(std::as_bytes(std::span(filter.filter, filter.len)));
  sock_fprog there = {};
  there.len = filter.len;
  there.filter = reinterpret_cast<sock_filter*>(code.value);
  last.must("install the filter in all threads", SYS_seccomp,
            {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, r.workspace.put(there).value});
}

Result<void> rebuild_ahead(Rebuild& r) {
  install_filter(r);
  return {};
}

Result<void> sketch(ProcessCapture& c) {
  c.out.personality = TRY(personality_of(c.process.pid));
  return {};
}

Result<void> rebuild(Rebuild& r) {
  for (Batch& batch : r.threads) give_up_root(r, batch);
  Batch& last = r.rights;
  last.must("set the subreaper flag", SYS_prctl, {PR_SET_CHILD_SUBREAPER, r.process.subreaper});
  // Changing the user has cleared both.
  last.must("set dumpable", SYS_prctl, {PR_SET_DUMPABLE, r.process.dumpable});
  const int signal = r.process.parent_death_signal;
  if (signal < 0 || signal > 64)
    return Error{"read the image: an impossible parent-death signal", EBADMSG};
  last.must("set the parent-death signal", SYS_prctl,
            {PR_SET_PDEATHSIG, static_cast<uint64_t>(signal)});
  if (!r.drafted) install_filter(r);
  return {};
}

}  // namespace

const Part kIdentity = {"identity", check, capture, nullptr, rebuild, sketch, rebuild_ahead};

}  // namespace hob::migrate
