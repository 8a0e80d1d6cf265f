#include "migrate/filters.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace hob::migrate {
namespace {

// The filter of every guest (confine.cc) is the first.
constexpr uint64_t kFirstOwn = 1;

bool asks_another(const Bytes& code) {
  for (size_t at = 0; at + sizeof(sock_filter) <= code.size(); at += sizeof(sock_filter)) {
    sock_filter one;
    std::memcpy(&one, &code[at], sizeof one);
    if (one.code == (BPF_RET | BPF_K) &&
        (one.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF)
      return true;
  }
  return false;
}

uint32_t index_of(Image& image, FilterImage filter) {
  auto at = std::find(image.filters.begin(), image.filters.end(), filter);
  if (at == image.filters.end()) at = image.filters.insert(at, std::move(filter));
  return static_cast<uint32_t>(at - image.filters.begin());
}

/// Under a filter itself the engine may not look. Then the number in /proc must do.
Result<void> expect_none(const CaptiveProcess& process, const CaptiveThread& thread) {
  const auto status = TRY(proc::status(thread.tracee.tid()));
  const auto own = TRY(proc::status(Tid{::getpid()}));
  if (status.seccomp_filters <= own.seccomp_filters + static_cast<int>(kFirstOwn)) return {};
  return obstacle(process.name(),
                  "it has a seccomp filter of its own, and hostd may not look at it here, because "
                  "it is under one itself");
}

Result<std::vector<uint32_t>> filters_of(const CaptiveProcess& process, const CaptiveThread& thread,
                                         Image& image) {
  std::vector<uint32_t> chain;
  for (uint64_t index = kFirstOwn;; index++) {
    auto filter = thread.tracee.seccomp_filter(index);
    if (!filter && filter.error().code == ENOENT) return chain;
    if (!filter && filter.error().code == EACCES) {
      TRY(expect_none(process, thread));
      return chain;
    }
    auto [code, log] = TRY(std::move(filter));
    if (asks_another(code))
      return obstacle(process.name(),
                      "it has a seccomp filter that asks another process (SECCOMP_RET_USER_NOTIF)");
    chain.push_back(index_of(image, {std::move(code), static_cast<uint8_t>(log)}));
  }
}

}  // namespace

Result<void> capture_filters(Captives& captives, Image& image) {
  for (size_t i = 0; i < captives.processes.size(); i++) {
    CaptiveProcess& process = captives.processes[i];
    ProcessImage& out = image.processes[i];
    out.threads.resize(process.threads.size());
    for (size_t t = 0; t < process.threads.size(); t++)
      out.threads[t].filters = TRY(filters_of(process, process.threads[t], image));
    if (!has_filters(out)) continue;
    for (CaptiveThread& thread : process.threads)
      TRY(thread.tracee.set_options(Tracee::kills_on_exit | Tracee::suspends_seccomp));
  }
  return {};
}

bool has_filters(const ProcessImage& process) {
  return std::any_of(process.threads.begin(), process.threads.end(),
                     [](const ThreadImage& t) { return !t.filters.empty(); });
}

namespace {

/// How many filters, from the first on, all threads have in common.
size_t common_filters(const ProcessImage& process) {
  const auto& first = process.threads.front().filters;
  size_t common = first.size();
  for (const ThreadImage& thread : process.threads) {
    const auto end =
        std::mismatch(first.begin(), first.end(), thread.filters.begin(), thread.filters.end());
    common = std::min(common, static_cast<size_t>(end.first - first.begin()));
  }
  return common;
}

/// One after the other: space in the workspace is never given back, code is put there but once.
class Installer {
 public:
  Installer(const Image& image, Workspace& workspace) : image_(image), workspace_(workspace) {
    programs_.resize(image.filters.size());
  }
  void add(Batch& batch, uint32_t filter, uint64_t flags) {
    if (image_.filters[filter].log) flags |= SECCOMP_FILTER_FLAG_LOG;
    batch.must("install a filter of its own", SYS_seccomp,
               {SECCOMP_SET_MODE_FILTER, flags, program(filter).value});
  }

 private:
  RemoteAddress program(uint32_t filter) {
    RemoteAddress& known = programs_[filter];
    if (known.value != 0) return known;
    const Bytes& code = image_.filters[filter].code;
    sock_fprog there = {};
    there.len = static_cast<unsigned short>(code.size() / sizeof(sock_filter));
    there.filter = reinterpret_cast<sock_filter*>(workspace_.put_bytes(code).value);
    return known = workspace_.put(there);
  }
  const Image& image_;
  Workspace& workspace_;
  std::vector<RemoteAddress> programs_;
};

Result<void> run(Batch& batch, Tracee& thread, Workspace& workspace, const user_regs_struct& base) {
  if (batch.empty()) return {};
  batch.place(workspace);
  TRY(batch.start(thread, workspace, base));
  TRY(batch.wait(thread));
  return batch.finish(workspace);
}

}  // namespace

size_t filter_space(const Image& image, const ProcessImage& process) {
  size_t space = 0;
  std::vector<bool> counted(image.filters.size());
  for (const ThreadImage& thread : process.threads)
    for (const uint32_t filter : thread.filters) {
      space += sizeof(Operation) + 64;
      if (!counted[filter]) space += image.filters[filter].code.size() + 64;
      counted[filter] = true;
    }
  return space;
}

Result<void> install_filters(const Image& image, const ProcessImage& process,
                             std::vector<Tracee>& threads, unsigned options, Workspace& workspace,
                             const user_regs_struct& base) {
  for (Tracee& thread : threads) TRY(thread.set_options(options | Tracee::suspends_seccomp));
  Installer installer(image, workspace);
  const size_t common = common_filters(process);
  Batch all;
  for (size_t i = 0; i < common; i++)
    installer.add(all, process.threads[0].filters[i], SECCOMP_FILTER_FLAG_TSYNC);
  TRY(run(all, threads[0], workspace, base));
  for (size_t t = 0; t < threads.size(); t++) {
    const auto& chain = process.threads[t].filters;
    Batch own;
    for (size_t i = common; i < chain.size(); i++) installer.add(own, chain[i], 0);
    TRY(run(own, threads[t], workspace, base));
  }
  return {};
}

}  // namespace hob::migrate
