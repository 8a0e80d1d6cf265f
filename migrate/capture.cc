#include "migrate/capture.h"

#include <time.h>

#include <algorithm>

#include "migrate/filters.h"
#include "migrate/injector.h"
#include "migrate/ipc.h"
#include "migrate/parts.h"
#include "migrate/scratch.h"
#include "migrate/stages.h"
#include "migrate/waits.h"

namespace hob::migrate {

namespace {

Result<void> ask(CaptiveProcess& process, Scratch& scratch, std::vector<Batch>& batches) {
  for (Batch& batch : batches) batch.place(scratch.workspace());
  TRY(scratch.write());
  for (size_t i = 0; i < batches.size(); i++)
    TRY(batches[i].start(process.threads[i].tracee, scratch.workspace(),
                         process.threads[i].registers));
  for (size_t i = 0; i < batches.size(); i++) TRY(batches[i].wait(process.threads[i].tracee));
  TRY(scratch.read());
  for (Batch& batch : batches) TRY(batch.finish(scratch.workspace()));
  return {};
}

Result<void> capture_process(const Guest& guest, CaptiveProcess& process, const Platform& platform,
                             Image& image, Objects& objects, const Beforehand& known,
                             ProcessImage& out, Arena& arena, std::vector<Scratch>& borrowed) {
  out.pid = process.node.pid;
  const RemoteAddress instruction =
      TRY(syscall_instruction(process.pid, process.name(), TRY(vdso_of(process)), platform.vdso));
  const std::string maps = TRY(proc::read(process.pid, "maps"));
  // Rows and answers: some 80 of the process, 11 per thread, one per child, one per POSIX timer
  // (RLIMIT_SIGPENDING bounds those; 512 fit).
  const auto children = static_cast<size_t>(
      std::count_if(image.tree.begin(), image.tree.end(),
                    [&](const TreeNode& node) { return node.parent == process.node.pid; }));
  const size_t needed = (96u << 10) + process.threads.size() * 1280 + children * 256;
  const size_t size = (needed | (kPage - 1)) + 1;
  CaptiveThread& leader = process.leader();
  // Kept until it is known who goes on: a process that has moved need not give it back, and while
  // it stands still that would take 50 us.
  Scratch& scratch = borrowed.emplace_back(
      TRY(Scratch::borrow({leader.tracee, leader.registers, instruction, process.name()}, size)));
  stages::mark("scratch");
  std::vector<Batch> batches(process.threads.size());
  ProcessCapture context{
      guest,      process, image, objects, known.advices, out, scratch.workspace(),
      batches[0], batches, arena, maps};
  if (auto at = known.touched.find(process.pid); at != known.touched.end())
    context.touched = at->second;
  if (const Sketch* sketch = known.sketch) {
    const auto& drafted = sketch->draft.processes;
    const auto at = std::find_if(drafted.begin(), drafted.end(),
                                 [&](const ProcessImage& p) { return p.pid == out.pid; });
    if (at != drafted.end()) {
      context.draft = &*at;
      context.drafted_maps = &sketch->maps[static_cast<size_t>(at - drafted.begin())];
    }
  }
  for (const Part* part : parts())
    if (part->capture) {
      TRY(part->capture(context));
      stages::mark(part->name.data());
    }
  TRY(ask(process, scratch, batches));
  stages::mark("ask");
  return {};
}

}  // namespace

void count(const Image& image, Report& report) {
  report.processes = static_cast<uint32_t>(image.processes.size());
  for (const ProcessImage& p : image.processes) {
    report.threads += static_cast<uint32_t>(p.threads.size());
    report.mappings += static_cast<uint32_t>(p.mappings.size());
    report.descriptors += static_cast<uint32_t>(p.descriptors.size());
    report.pages_moved += p.pages.size();
  }
}

Result<int64_t> guest_monotonic(Tid process) {
  const std::string text = TRY(proc::read(process, "timens_offsets"));
  long seconds = 0, nanoseconds = 0;
  if (std::sscanf(text.c_str(), "monotonic %ld %ld", &seconds, &nanoseconds) != 2)
    return Error{"read the clock offsets of the guest: the kernel's text has an unknown form",
                 EPROTO};
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return (now.tv_sec + seconds) * 1'000'000'000 + now.tv_nsec + nanoseconds;
}

Result<Captured> capture(const Guest& guest, Captives& captives, const Beforehand& known,
                         const Platform& platform, bool other_kernel, Arena& arena) {
  for (CaptiveProcess& process : captives.processes)
    TRY(step_out_of_vdso(process, platform, other_kernel));
  // Before anything is read: a wait may turn out to be over.
  TRY(measure_waits(captives));
  Captured captured;
  Objects objects;
  Image& image = captured.image;
  image.tree = captives.tree;
  image.monotonic = TRY(guest_monotonic(captives.processes.front().pid));
  const size_t count = captives.processes.size();
  captured.borrowed.reserve(count);  // never again: the parts keep references
  image.processes.resize(count);     // never again: the parts keep references
  image.vdsos.push_back(platform.vdso);
  TRY(capture_ipc(guest, image));
  TRY(capture_filters(captives, image));
  stages::mark("filters");
  for (size_t i = 0; i < count; i++)
    TRY(capture_process(guest, captives.processes[i], platform, image, objects, known,
                        image.processes[i], arena, captured.borrowed));
  stages::mark("scratch");
  KnownFiles none;
  TRY(capture_descriptions(guest, captives.processes, known.sketch ? known.sketch->files : none,
                           objects, image, captured.taken));
  stages::mark("descriptors");
  TRY(objects.finish(image));
  captured.objects = objects.take_files();
  TRY(capture_terminal(guest, captives.processes, image));
  return captured;
}

}  // namespace hob::migrate
