#include "migrate/settlement.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "migrate/descriptor_table.h"
#include "migrate/draft.h"
#include "migrate/files.h"
#include "migrate/opener.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

std::string link_to(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

bool has_position(const Description& d) {
  return (d.kind == DescriptionKind::regular || d.kind == DescriptionKind::directory) &&
         !(d.flags & O_PATH) && !tells_of_processes(d);
}

}  // namespace

Result<Settlement> Settlement::prepare(const Image& draft, Tid process, int opened) {
  Settlement settlement;
  const DescriptorTable table = TRY(DescriptorTable::of(process));
  for (size_t i = 0; i < draft.descriptions.size(); i++) {
    const Description& d = draft.descriptions[i];
    const int place = opened + static_cast<int>(i);
    if (has_position(d)) {
      Held held{i, TRY(table.take(place))};
      held.written = d.kind == DescriptionKind::regular && (d.flags & O_ACCMODE) != O_RDONLY &&
                     TRY(is_remote(held.file.get(), d.path));
      settlement.held_.push_back(std::move(held));
    } else if (d.kind == DescriptionKind::eventfd) {
      settlement.held_.push_back({i, TRY(table.take(place))});
    } else if (is_pipe(d.kind) && std::none_of(settlement.pipes_.begin(), settlement.pipes_.end(),
                                               [&](const auto& p) { return p.pipe == d.pipe; })) {
      // Whichever end it is: the other one may have been closed.
      const Fd end = TRY(table.take(place));
      settlement.pipes_.push_back(
          {d.pipe, TRY(open_file(link_to(end.get()), O_WRONLY | O_NONBLOCK))});
    }
  }
  return settlement;
}

Result<void> Settlement::settle(const Image& image) {
  for (const Held& held : held_) {
    const Description& d = image.descriptions[held.description];
    if (d.kind == DescriptionKind::eventfd) {
      if (d.value && ::write(held.file.get(), &d.value, sizeof d.value) < 0)
        return Error::sys("fill", "an eventfd");
      continue;
    }
    // What the source has written since the draft is seen by who opens the file now, and then by
    // all who have it open here (nfs(5), "Close-to-open cache consistency").
    if (held.written) TRY(open_file(link_to(held.file.get()), O_RDONLY | O_NONBLOCK));
    if (d.position != 0 && ::lseek(held.file.get(), static_cast<off_t>(d.position), SEEK_SET) < 0)
      return Error::sys("seek in", d.path);
  }
  for (const HeldPipe& held : pipes_) {
    const Bytes& content = image.pipes[held.pipe].content;
    const auto size = static_cast<ssize_t>(content.size());
    if (size && ::write(held.write_end.get(), content.data(), content.size()) != size)
      return Error::sys("fill", "a pipe");
  }
  held_.clear();
  pipes_.clear();
  return {};
}

}  // namespace hob::migrate
