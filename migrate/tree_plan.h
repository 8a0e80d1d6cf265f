#pragma once

#include <vector>

#include "base/result.h"
#include "migrate/image.h"

namespace hob::migrate {

/// How one process of a tree is made anew, so that parent, session and process group come out as
/// they were. Sessions can only be inherited or founded, so who clones whom and when decides.
struct StubPlan {
  enum class Role : uint8_t {
    living,
    zombie,  ///< exits as the original did and is left unreaped
    helper,  ///< stands in for a dead session or group leader, or makes an orphan; exits, is reaped
  };
  TreeNode node;
  Role role = Role::living;
  int creator = -1;  ///< index of the plan that clones it; -1: the engine
  bool founds_session = false;
  bool before_session = false;  ///< its creator clones it before founding its own session
};

/// Pure. Every creator stands before those it creates. An Error (kObstacle) if the tree cannot be
/// made this way.
Result<std::vector<StubPlan>> plan_tree(const Tree& tree);

}  // namespace hob::migrate
