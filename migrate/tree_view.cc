// migrate/captive.h, the part that looks at a tree which nobody need hold.
#include <sched.h>

#include <utility>

#include "migrate/captive.h"
#include "migrate/parts.h"
#include "migrate/ptys.h"

namespace hob::migrate {
namespace {

pid_t inside_of(const proc::Status& status, Tid fallback) {
  return status.inside.empty() ? fallback.value : status.inside.back();
}
pid_t innermost(const std::vector<pid_t>& numbers) {
  return numbers.empty() ? 0 : numbers.back();
}

}  // namespace

Result<TreeView> view_tree(const Guest& guest) {
  const int terminal = starter_terminal(guest);
  TreeView view;
  struct Next {
    Tid pid;
    pid_t parent;  // inside
  };
  std::vector<Next> queue = {{Tid{guest.root}, 0}};
  if (guest.sandbox)
    for (Tid orphan : proc::children_of_single(Tid{guest.sandbox->init()}))
      queue.push_back({orphan, 1});
  for (size_t i = 0; i < queue.size(); i++) {
    auto status = proc::status(queue[i].pid);
    auto stat = proc::stat(queue[i].pid);
    if (!status || !stat) {
      Error error = status ? std::move(stat).error() : std::move(status).error();
      if (error.code == ESRCH && i > 0) continue;
      return std::move(error).in("look at the guest's processes");
    }
    TreeNode node;
    node.pid = inside_of(*status, queue[i].pid);
    node.parent = queue[i].parent;
    node.group = innermost(status->inside_group);
    node.session = innermost(status->inside_session);
    const int pty = pts_number(stat->terminal);
    node.terminal = stat->terminal != 0 && (pty < 0 || pty == terminal);
    node.pty = node.terminal ? -1 : pty;
    node.zombie = stat->state == 'Z' || stat->state == 'X';
    // Of an orphan and of the root, init and the starter wait as for any other.
    if (queue[i].parent > 1 && stat->exit_signal >= 0)
      node.exit_signal = static_cast<uint8_t>(stat->exit_signal);
    if (node.zombie) node.exit_code = stat->exit_code;
    if (node.zombie) {
      auto threads = proc::threads(queue[i].pid);
      if (threads && threads->size() > 1)
        return obstacle("process " + std::to_string(node.pid) + " (" + status->name + ")",
                        "its first thread has ended before the others");
    }
    if (node.zombie && i == 0) return Error{"move the guest: it has ended", ESRCH};
    view.tree.push_back(node);
    view.pids.push_back(queue[i].pid);
    view.stats.push_back(std::move(*stat));
    view.statuses.push_back(std::move(*status));
    if (node.zombie) continue;
    auto children = proc::children(queue[i].pid, view.statuses.back());
    if (!children) continue;  // has just ended
    for (Tid child : *children) queue.push_back({child, node.pid});
  }
  return view;
}

bool TreeView::is_single_thread() const {
  return tree.size() == 1 && statuses[0].threads == 1;
}

Place place_of(const Guest& guest) {
  const auto view = view_tree(guest);
  if (!view) return {::sched_getcpu(), false};
  return {view->stats[0].processor, view->is_single_thread()};
}

}  // namespace hob::migrate
