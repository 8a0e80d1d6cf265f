#include "migrate/tree_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "migrate/parts.h"

namespace hob::migrate {
namespace {

class Planner {
 public:
  explicit Planner(const Tree& tree) : tree_(tree) {
    for (const TreeNode& node : tree) {
      taken_.insert(node.pid);
      taken_.insert(node.group);
      taken_.insert(node.session);
    }
  }

  Result<std::vector<StubPlan>> plan() {
    // Orphans and what descends from them come last: they may need a session that an ordinary
    // member, dead or alive, leads.
    std::set<pid_t> orphaned;
    for (const TreeNode& node : tree_)
      if (node.parent == 1 || orphaned.count(node.parent)) orphaned.insert(node.pid);
    for (bool late : {false, true})
      for (const TreeNode& node : tree_)
        if ((orphaned.count(node.pid) > 0) == late) TRY(add(node));
    TRY(add_group_leaders());
    return std::move(plans_);
  }

 private:
  static Error refuse(const TreeNode& node, const char* why) {
    return obstacle("process " + std::to_string(node.pid), why);
  }

  int find(pid_t pid) const {
    auto at = std::find_if(plans_.begin(), plans_.end(),
                           [&](const auto& p) { return p.node.pid == pid; });
    return at == plans_.end() ? -1 : static_cast<int>(at - plans_.begin());
  }

  // The session a process is born into, before it founds one.
  pid_t birth_session(int index) const {
    const StubPlan& p = plans_[static_cast<size_t>(index)];
    if (!p.founds_session) return p.node.session;
    if (p.creator < 0) return 0;
    return p.before_session ? birth_session(p.creator)
                            : plans_[static_cast<size_t>(p.creator)].node.session;
  }

  Result<void> add(const TreeNode& node) {
    StubPlan plan;
    plan.node = node;
    plan.role = node.zombie ? StubPlan::Role::zombie : StubPlan::Role::living;
    plan.founds_session = node.session == node.pid;
    if (node.parent == 0) {
      if (!plan.founds_session) return refuse(node, "the root is not a session leader");
    } else if (node.parent == 1) {
      plan.creator = TRY(orphan_maker(node));
    } else {
      plan.creator = find(node.parent);
      if (plan.creator < 0) return refuse(node, "its parent is unknown");
      const StubPlan& creator = plans_[static_cast<size_t>(plan.creator)];
      if (!plan.founds_session && node.session != creator.node.session) {
        plan.before_session = true;
        if (!creator.founds_session || birth_session(plan.creator) != node.session)
          return refuse(node, "it is in a session that its parent was never in");
      }
    }
    plans_.push_back(plan);
    return {};
  }

  // An orphan is the child of a helper that exits; the helper must be in the orphan's session.
  Result<int> orphan_maker(const TreeNode& orphan) {
    StubPlan helper;
    helper.role = StubPlan::Role::helper;
    helper.node.parent = tree_[0].pid;
    helper.creator = 0;
    const bool leads = orphan.session == orphan.pid;
    const pid_t session = leads ? tree_[0].session : orphan.session;
    helper.node.session = session;
    helper.node.group = session;
    const int leader = find(session);
    if (leader >= 0) {
      helper.creator = leader;
      for (StubPlan& p : plans_)  // one helper serves all orphans of a session
        if (p.role == StubPlan::Role::helper && p.node.session == session) return find(p.node.pid);
      helper.node.pid = free_pid();
    } else {
      // The leader has ended: the helper has its pid and founds the session.
      helper.node.pid = session;
      helper.founds_session = true;
    }
    plans_.push_back(helper);
    return static_cast<int>(plans_.size() - 1);
  }

  Result<void> add_group_leaders() {
    for (const TreeNode& node : tree_) {
      if (node.group == 0 || find(node.group) >= 0) continue;
      const int leader = find(node.session);
      if (leader < 0) return refuse(node, "the leaders of its group and session have ended");
      StubPlan helper;
      helper.role = StubPlan::Role::helper;
      helper.creator = leader;
      helper.node.pid = helper.node.group = node.group;
      helper.node.parent = node.session;
      helper.node.session = node.session;
      plans_.push_back(helper);
    }
    return {};
  }

  pid_t free_pid() {
    // Far from where the kernel gives out pids in a sandbox of a few processes.
    pid_t pid = 30000;
    while (!taken_.insert(pid).second) pid--;
    return pid;
  }

  const Tree& tree_;
  std::set<pid_t> taken_;
  std::vector<StubPlan> plans_;
};

}  // namespace

Result<std::vector<StubPlan>> plan_tree(const Tree& tree) {
  return Planner(tree).plan();
}

}  // namespace hob::migrate
