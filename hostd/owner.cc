#include "hostd/owner.h"

#include <algorithm>

namespace hob {

std::string_view to_string(HostState state) {
  switch (state) {
    case HostState::down:
      return "DOWN";
    case HostState::active:
      return "ACTIVE";
    case HostState::idle:
      return "IDLE";
    case HostState::part_used:
      return "PART_USED";
    case HostState::full:
      return "FULL";
    case HostState::refuses:
      return "REFUSES";
  }
  check_failed(__FILE__, __LINE__, "a HostState");
}

OwnerRules OwnerRules::of(const HostdConfig& config, unsigned processors) {
  OwnerRules rules;
  rules.idle_after = config.idle_input;
  rules.processors = processors;
  rules.load_open = config.idle_load_open;
  rules.load_close = config.idle_load_close;
  rules.hours = config.owner_hours;
  rules.max_guests = config.owner_max_guests != 0 ? config.owner_max_guests : processors;
  rules.import = config.owner_import.kind != HostList::Kind::none;
  rules.on_battery = config.owner_on_battery;
  return rules;
}

Owner::Owner(OwnerRules rules)
    : rules_(std::move(rules)), gate_(rules_.load_open, rules_.load_close, rules_.processors) {}

Owner::Source Owner::add_source(std::string name) {
  sources_.emplace_back().name = std::move(name);
  return sources_.size() - 1;
}

void Owner::source_readable(Source source, Time last_input) {
  SourceFacts& facts = sources_.at(source);
  facts.readable = true;
  if (facts.last < last_input) {
    facts.last = last_input;
    facts.seen = false;
  }
}

void Owner::source_unreadable(Source source, std::string why) {
  SourceFacts& facts = sources_.at(source);
  facts.readable = false;
  facts.why_unreadable = std::move(why);
}

void Owner::input(Source source, Time when, std::string_view what) {
  SourceFacts& facts = sources_.at(source);
  if (facts.last > when) return;
  facts.last = when;
  facts.seen = true;
  facts.what = what;
}

void Owner::load(unsigned runnable, Time when) {
  averages_.sample(runnable, when);
  gate_.update(*averages_.averages());
  load_problem_.reset();
}

void Owner::load_unreadable(std::string why) {
  load_problem_ = std::move(why);
}

void Owner::pause(std::optional<WallTime> until) {
  paused_ = true;
  paused_until_ = until;
}

void Owner::resume() {
  paused_ = false;
}

void Owner::slots_used(unsigned slots) {
  used_ = slots;
}

void Owner::on_battery(bool on) {
  battery_ = on;
}

void Owner::rules(OwnerRules rules) {
  const bool marks_differ = rules.load_open != rules_.load_open ||
                            rules.load_close != rules_.load_close ||
                            rules.processors != rules_.processors;
  rules_ = std::move(rules);
  if (!marks_differ) return;
  gate_ = LoadGate(rules_.load_open, rules_.load_close, rules_.processors);
  if (const auto averages = averages_.averages()) gate_.update(*averages);
}

Owner::Refusal Owner::refusal(WallTime wall) const {
  if (paused_ && (!paused_until_ || wall < *paused_until_)) return Refusal::paused;
  if (!rules_.import) return Refusal::no_imports;
  if (rules_.max_guests == 0) return Refusal::no_slots;
  if (!rules_.hours.contains(wall)) return Refusal::hours;
  if (battery_ && !rules_.on_battery) return Refusal::battery;
  return Refusal::none;
}

const Owner::SourceFacts* Owner::unreadable() const {
  const auto it = std::find_if(sources_.begin(), sources_.end(),
                               [](const SourceFacts& facts) { return !facts.readable; });
  return it == sources_.end() ? nullptr : &*it;
}

const Owner::SourceFacts* Owner::latest() const {
  const auto it =
      std::max_element(sources_.begin(), sources_.end(),
                       [](const SourceFacts& a, const SourceFacts& b) { return a.last < b.last; });
  return it == sources_.end() ? nullptr : &*it;
}

std::optional<Time> Owner::last_input() const {
  if (sources_.empty() || unreadable() != nullptr) return std::nullopt;
  return latest()->last;
}

Verdict Owner::judge(Time now, WallTime wall) const {
  if (refusal(wall) != Refusal::none) return {HostState::refuses, false, 0};
  // Fail closed: with no source, or with one that cannot be read, the owner may be here unseen.
  const std::optional<Time> last = last_input();
  if (!last || now < *last + rules_.idle_after) return {HostState::active, false, 0};
  // Guests that are here may stay when the owner's own work grows; they have the lowest priority.
  if (!load_is_open()) return {used_ > 0 ? HostState::full : HostState::active, true, 0};
  if (used_ >= rules_.max_guests) return {HostState::full, true, 0};
  return {used_ > 0 ? HostState::part_used : HostState::idle, true, rules_.max_guests - used_};
}

Owner::Decision Owner::decide(Time now, WallTime wall) {
  Decision decision{judge(now, wall)};
  decision.evict = decided_ && decided_->guests_allowed && !decision.verdict.guests_allowed;
  decision.changed = decided_ != decision.verdict;
  decided_ = decision.verdict;
  return decision;
}

std::optional<Time> Owner::next_deadline(Time now, WallTime wall) const {
  // No time brings an end to these.
  if (!rules_.import || rules_.max_guests == 0) return std::nullopt;
  if (paused_ && !paused_until_) return std::nullopt;

  // Go from one moment at which something could change to the next, until the verdict does. Two of
  // them come once (the end of the pause, the end of 30 s), the hours again and again: a week of
  // them is enough to wait before looking anew.
  const Verdict before = judge(now, wall);
  const std::optional<Time> last = last_input();
  std::optional<Time> candidate;
  for (Time t = now; t < now + hours(24 * 7); t = *candidate) {
    const WallTime t_wall = wall + std::chrono::duration_cast<WallTime::duration>(t - now);
    candidate.reset();
    const auto consider = [&](Time moment) {
      if (moment > t && (!candidate || moment < *candidate)) candidate = moment;
    };
    const auto consider_wall = [&](WallTime moment) { consider(now + (moment - wall)); };
    if (last) consider(*last + rules_.idle_after);
    if (paused_ && paused_until_) consider_wall(*paused_until_);
    if (const std::optional<WallTime> change = rules_.hours.next_change(t_wall))
      consider_wall(*change);
    if (!candidate) return std::nullopt;
    const WallTime then = wall + std::chrono::duration_cast<WallTime::duration>(*candidate - now);
    if (judge(*candidate, then) != before) return candidate;
  }
  return candidate;
}

}  // namespace hob
