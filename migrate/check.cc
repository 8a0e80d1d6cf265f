#include "migrate/check.h"

#include "migrate/captive.h"
#include "migrate/huge_pages.h"
#include "migrate/outside.h"
#include "migrate/parts.h"
#include "migrate/tree_plan.h"

namespace hob::migrate {
namespace {

Result<Findings> look(const Guest& guest, bool table) {
  Findings found;
  const TreeView view = TRY(view_tree(guest));
  // A stranger would lead a session of its own if it were a job.
  const Tree tree = guest.sandbox ? view.tree : as_job(view.tree);
  if (auto plan = plan_tree(tree); !plan) {
    if (plan.error().code != kObstacle) return std::move(plan).error();
    found.obstacles.push_back({plan.error().text});
  }
  if (auto huge = count_huge_pages(view.pids); !huge) {
    if (huge.error().code != kObstacle) return std::move(huge).error();
    found.obstacles.push_back({huge.error().text});
  }
  std::vector<Inspection> living;
  for (size_t i = 0; i < view.tree.size(); i++) {
    if (view.tree[i].zombie) continue;
    auto status = proc::status(view.pids[i]);
    if (!status) continue;  // has just ended
    living.push_back({guest, view.pids[i], view.tree[i].pid, std::move(*status), found.obstacles,
                      table ? &found.resources : nullptr});
  }
  for (Inspection& inspection : living)
    for (const Part* part : parts())
      if (part->check) part->check(inspection);
  check_outside(living);
  return found;
}

}  // namespace

Result<std::vector<Obstacle>> check(const Guest& guest) {
  return TRY(look(guest, false)).obstacles;
}

Result<Findings> examine(const Guest& guest) {
  return look(guest, true);
}

Result<std::vector<Obstacle>> look_ahead(Guest& guest) {
  guest.advices.clear();
  for (const Tid process : TRY(view_tree(guest)).pids) guest.advices.read(process);
  return check(guest);
}

}  // namespace hob::migrate
