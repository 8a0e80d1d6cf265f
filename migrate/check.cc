#include "migrate/migrate.h"
#include "migrate/parts.h"
#include "migrate/tree_plan.h"

namespace hob::migrate {

Result<std::vector<Obstacle>> check(const Guest& guest) {
  std::vector<Obstacle> obstacles;
  const TreeView view = TRY(view_tree(guest));
  if (auto plan = plan_tree(view.tree); !plan) {
    if (plan.error().code != kObstacle) return std::move(plan).error();
    obstacles.push_back({plan.error().text});
  }
  for (size_t i = 0; i < view.tree.size(); i++) {
    if (view.tree[i].zombie) continue;
    auto status = proc::status(view.pids[i]);
    if (!status) continue;  // has just ended
    Inspection inspection{guest, view.pids[i], view.tree[i].pid, std::move(*status), obstacles};
    for (const Part* part : parts())
      if (part->check) part->check(inspection);
  }
  return obstacles;
}

Result<std::vector<Obstacle>> look_ahead(Guest& guest) {
  guest.advices.clear();
  for (const Tid process : TRY(view_tree(guest)).pids) guest.advices.read(process);
  return check(guest);
}

}  // namespace hob::migrate
