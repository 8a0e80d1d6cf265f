#include "migrate/sketch.h"

#include <fcntl.h>

#include <map>

#include "migrate/descriptions.h"
#include "migrate/draft.h"
#include "migrate/parts.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

Error undraftable(const char* what) {
  return Error{std::string("make a draft: ") + what, ENOTSUP};
}

Result<std::vector<CaptiveProcess>> living(const Guest& guest, Tree& tree) {
  TreeView view = TRY(view_tree(guest));
  std::vector<CaptiveProcess> all;
  for (size_t i = 0; i < view.tree.size(); i++) {
    if (view.tree[i].zombie) continue;
    CaptiveProcess& process = all.emplace_back();
    process.pid = view.pids[i];
    process.node = view.tree[i];
    process.stat = std::move(view.stats[i]);
    if (process.stat.state == 'T') return undraftable("a stopped process");
    process.status = std::move(view.statuses[i]);
  }
  tree = std::move(view.tree);
  return all;
}

Result<void> sketch_processes(const Guest& guest, std::vector<CaptiveProcess>& processes,
                              const Advices& advices, Sketch& sketch, Arena& arena) {
  Image& image = sketch.draft;
  Objects objects;
  std::vector<std::byte> none(2 * kPage);
  image.processes.resize(processes.size());
  sketch.maps.resize(processes.size());
  for (size_t i = 0; i < processes.size(); i++) {
    // Nothing is asked of the process itself, so no batch runs.
    Workspace workspace(none.data(), none.size(), {});
    std::vector<Batch> batches(1);
    ProcessImage& out = image.processes[i];
    out.pid = processes[i].node.pid;
    sketch.maps[i] = TRY(proc::read(processes[i].pid, "maps"));
    ProcessCapture context{guest,     processes[i], image,   objects, advices,       out,
                           workspace, batches[0],   batches, arena,   sketch.maps[i]};
    for (const Part* part : parts())
      if (part->sketch) TRY(part->sketch(context));
  }
  return {};
}

Result<void> sketch_pipe(Tid process, int fd, ino_t inode, std::map<ino_t, uint32_t>& known,
                         Image& image, Description& d) {
  if (!d.path.empty()) return undraftable("a named pipe");
  const auto [at, fresh] = known.emplace(inode, static_cast<uint32_t>(image.pipes.size()));
  d.pipe = at->second;
  if (!fresh) return {};
  const Fd end = TRY(proc::borrow_descriptor(process, fd));
  const int capacity = ::fcntl(end.get(), F_GETPIPE_SZ);
  if (capacity < 0) return Error::sys("look into", "a pipe");
  image.pipes.emplace_back().capacity = static_cast<uint32_t>(capacity);
  return {};
}

// In the order in which capture_descriptions() finds them.
Result<void> sketch_descriptions(const Guest& guest, const std::vector<CaptiveProcess>& processes,
                                 Image& image, KnownFiles& known) {
  SeenDescriptions seen;
  std::map<ino_t, uint32_t> pipes;
  for (size_t p = 0; p < processes.size(); p++) {
    const Tid pid = processes[p].pid;
    const DescriptorTable table = TRY(DescriptorTable::of(pid));
    for (int fd : TRY(proc::descriptors(pid))) {
      Described described = TRY(describe(guest, table, fd));
      auto number = seen.find(described, pid, fd);
      if (!number) {
        number = static_cast<uint32_t>(image.descriptions.size());
        seen.add(described, pid, fd, *number);
        Description& d = image.descriptions.emplace_back(as_drafted(described.description));
        if (!can_be_drafted(d.kind)) return undraftable("a descriptor of another kind");
        if (is_pipe(d.kind)) TRY(sketch_pipe(pid, fd, described.inode, pipes, image, d));
        d.owner = processes[p].node.pid;
      }
      known.learn(pid, fd, described);
      image.processes[p].descriptors.push_back({fd, *number, described.close_on_exec});
    }
  }
  return {};
}

}  // namespace

Result<Sketch> sketch(const Guest& guest, const Advices& advices, const Platform& platform,
                      Arena& arena) {
  Sketch sketch;
  Image& image = sketch.draft;
  std::vector<CaptiveProcess> processes = TRY(living(guest, image.tree));
  image.vdsos.push_back(platform.vdso);
  TRY(sketch_processes(guest, processes, advices, sketch, arena));
  TRY(sketch_descriptions(guest, processes, image, sketch.files));
  TRY(capture_terminal(guest, processes, image));
  return sketch;
}

}  // namespace hob::migrate
