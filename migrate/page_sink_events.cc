#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "migrate/page_sink.h"
#include "migrate/page_stream.h"

/// What the kernel tells about the address spaces (userfaultfd(2)): faults, and what their programs
/// do with the memory meanwhile. All under the sink's lock.
namespace hob::migrate {
namespace {

/// Shared memory belongs to no process: whoever waits for a page of it waits for the same one.
uint32_t process_of(uint32_t process, uint64_t source) {
  return stream::is_object(source) ? stream::kObjects : process;
}

}  // namespace

void PageSink::Space::wake(uint64_t target) const {
  uffdio_range range = {target, kPage};
  ::ioctl(uffd.get(), UFFDIO_WAKE, &range);
}

void PageSink::read_events(size_t index, std::vector<std::pair<uint32_t, uint64_t>>& requests) {
  uffd_msg messages[16];
  Space* space = spaces_[index].get();
  if (space->dead) return;
  const ssize_t n = ::read(space->uffd.get(), messages, sizeof messages);
  for (size_t i = 0; n > 0 && i < static_cast<size_t>(n) / sizeof(uffd_msg); i++) {
    const uffd_msg& m = messages[i];
    switch (m.event) {
      case UFFD_EVENT_PAGEFAULT:
        on_fault(index, m.arg.pagefault.address & ~(kPage - 1), requests);
        break;
      case UFFD_EVENT_FORK: {
        auto child = std::make_unique<Space>();
        child->process = space->process;
        child->uffd.reset(static_cast<int>(m.arg.fork.ufd));
        ::fcntl(child->uffd.get(), F_SETFL, O_NONBLOCK);
        ::fcntl(child->uffd.get(), F_SETFD, FD_CLOEXEC);
        child->own = space->own;
        child->shared = space->shared;
        child->wiped_on_fork = space->wiped_on_fork;
        for (const Range& wiped : child->wiped_on_fork) child->own.remove(wiped);
        spaces_.push_back(std::move(child));
        break;
      }
      case UFFD_EVENT_REMAP:
        space->own.move(m.arg.remap.from, m.arg.remap.to, m.arg.remap.len);
        space->shared.move(m.arg.remap.from, m.arg.remap.to, m.arg.remap.len);
        break;
      case UFFD_EVENT_REMOVE:
        // MADV_DONTNEED takes nothing away of memory that is shared. (MADV_REMOVE does, and looks
        // the same here: until the last page is in, holes made by it may show what was there
        // before.)
        space->own.remove({m.arg.remove.start, m.arg.remove.end});
        break;
      case UFFD_EVENT_UNMAP:
        space->own.remove({m.arg.remove.start, m.arg.remove.end});
        space->shared.remove({m.arg.remove.start, m.arg.remove.end});
        break;
      default:
        break;
    }
  }
}

bool PageSink::populated(uint32_t process, uint64_t source) const {
  if (!mapped_.count(process)) return true;  // not known yet: ask
  auto of = populated_.find(process);
  if (of == populated_.end()) return false;
  auto at = of->second.upper_bound(source);
  return at != of->second.begin() && source < std::prev(at)->second;
}

void PageSink::on_fault(size_t index, uint64_t address,
                        std::vector<std::pair<uint32_t, uint64_t>>& requests) {
  Space& space = *spaces_[index];
  const auto source = space.source_of(address);
  if (!source || !populated(process_of(space.process, *source), *source))
    return fill_zero(index, address);
  const std::pair key{process_of(space.process, *source), *source};
  // Who waits for a page that is under way already is woken with the others.
  const bool first = waiting_.find(key) == waiting_.end();
  waiting_.emplace(key, Waiting{index, address});
  if (first) requests.push_back(key);
}

void PageSink::fill_zero(size_t index, uint64_t target) {
  Space& space = *spaces_[index];
  if (space.dead) return;
  uffdio_zeropage zero = {};
  zero.range = {target, kPage};
  if (::ioctl(space.uffd.get(), UFFDIO_ZEROPAGE, &zero) == 0) return;
  if (errno == EAGAIN) {
    zeros_.push_back({index, target});
  } else if (errno == ESRCH) {
    space.dead = true;
  } else {
    space.wake(target);  // there already, or unmapped: the program looks again
  }
}

void PageSink::retry_zeros() {
  std::vector<Waiting> some;
  some.swap(zeros_);
  for (const Waiting& w : some) fill_zero(w.space, w.target);
}

}  // namespace hob::migrate
