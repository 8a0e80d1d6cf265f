#include "migrate/bindings.h"

#include "base/check.h"

namespace hob::migrate {

// No default: a kind that is added needs its row here.
Rule rule_for(DescriptionKind kind) {
  switch (kind) {
    case DescriptionKind::regular:
      return {"file", Binding::rebound, "opened there by its path, at the same offset"};
    case DescriptionKind::directory:
      return {"directory", Binding::rebound, "opened there by its path, at the same entry"};
    case DescriptionKind::device:
      return {"device", Binding::rebound, "the same on every host, and without state"};
    case DescriptionKind::pipe_read:
      return {"pipe, reading", Binding::moved, "both ends are the job's; with the bytes in it"};
    case DescriptionKind::pipe_write:
      return {"pipe, writing", Binding::moved, "both ends are the job's"};
    case DescriptionKind::pipe_both:
      return {"pipe, both ways", Binding::moved, "the job's alone; with the bytes in it"};
    case DescriptionKind::name:
      return {"place", Binding::rebound, "found there by its path (O_PATH)"};
    case DescriptionKind::pty_master:
      return {"pty, master", Binding::moved, "both ends are the job's; with the bytes in it"};
    case DescriptionKind::pty_slave:
      return {"pty, slave", Binding::moved, "both ends are the job's; with its settings"};
    case DescriptionKind::external:
      return {"standard stream", Binding::at_home, "leads to `remote run`, wherever the job is"};
    case DescriptionKind::terminal:
      return {"terminal", Binding::at_home, "leads to `remote run`, wherever the job is"};
    case DescriptionKind::object:
      return {"unnamed file", Binding::copied, "no path leads to it: its content goes along"};
    case DescriptionKind::socket:
      return {"socket", Binding::moved, "both ends are the job's; with the messages in it"};
    case DescriptionKind::inet:
      return {"network socket", Binding::moved, "the job's alone; at the same port there"};
    case DescriptionKind::eventfd:
      return {"eventfd", Binding::moved, "with its counter"};
    case DescriptionKind::timerfd:
      return {"timerfd", Binding::moved, "with the time that is left"};
    case DescriptionKind::signalfd:
      return {"signalfd", Binding::moved, "with its mask"};
    case DescriptionKind::pidfd:
      return {"pidfd", Binding::moved, "of the same process of the job"};
    case DescriptionKind::inotify:
      return {"inotify", Binding::rebound, "the files of the same names are watched there"};
    case DescriptionKind::epoll:
      return {"epoll", Binding::moved, "with what it watches"};
  }
  CHECK(false && "a description of no kind");
}

Rule rule_for(MappingKind kind, bool shared) {
  switch (kind) {
    case MappingKind::anonymous:
      return {"memory", Binding::moved, "its pages go along"};
    case MappingKind::huge:
      return {"memory of huge pages", Binding::moved, "in huge pages there"};
    case MappingKind::stack:
      return {"stack", Binding::moved, "its pages go along, and it grows there"};
    case MappingKind::file:
      if (shared)
        return {"shared file mapping", Binding::rebound, "the file there, after what was written"};
      return {"private file mapping", Binding::rebound,
              "the same file there; changed pages go along"};
    case MappingKind::object:
      if (shared) return {"shared memory", Binding::moved, "shared there by the same processes"};
      return {"unnamed file mapping", Binding::copied,
              "no path leads to the file: its content goes along"};
    case MappingKind::segment:
      return {"System V shared memory", Binding::moved, "with its id, key and content"};
    case MappingKind::vdso:
    case MappingKind::vvar:
    case MappingKind::vvar_clock:
      return {"kernel's page", Binding::rebound, "that of the kernel there, at the same address"};
  }
  CHECK(false && "a mapping of no kind");
}

std::string_view word_of(Binding binding) {
  switch (binding) {
    case Binding::moved:
      return "moved";
    case Binding::copied:
      return "copied";
    case Binding::rebound:
      return "rebound";
    case Binding::at_home:
      return "at home";
    case Binding::refused:
      return "refused";
  }
  CHECK(false && "no binding");
}

}  // namespace hob::migrate
