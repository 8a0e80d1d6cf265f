// What the state machine says to people. Apart from the decisions, so that those stay on one
// screen.

#include <fmt/format.h>

#include <ctime>

#include "hostd/owner.h"

namespace hob {
namespace {

/// "3 s", "12 min", "5 h", "3 days".
std::string roughly(Duration duration) {
  const auto whole =
      std::chrono::duration_cast<seconds>(std::max(duration, Duration::zero())).count();
  if (whole < 120) return fmt::format("{} s", whole);
  if (whole < 120 * 60) return fmt::format("{} min", whole / 60);
  if (whole < 48 * 3600) return fmt::format("{} h", whole / 3600);
  return fmt::format("{} days", whole / 86400);
}

/// The time that is still to go, in whole seconds and never less than the truth.
std::string roughly_until(Duration duration) {
  return roughly(std::chrono::ceil<seconds>(std::max(duration, Duration::zero())));
}

/// "18:00" today, with seconds if it is not a full minute, with the date on other days.
std::string moment(WallTime when, WallTime now) {
  const auto parts = [](WallTime time) {
    const std::time_t value = WallClock::to_time_t(time);
    std::tm local{};
    ::localtime_r(&value, &local);
    return local;
  };
  const std::tm then = parts(when);
  const std::tm today = parts(now);
  const bool same_day = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
  char text[32];
  std::strftime(text, sizeof text,
                !same_day          ? "%Y-%m-%d %H:%M"
                : then.tm_sec == 0 ? "%H:%M"
                                   : "%H:%M:%S",
                &then);
  return text;
}

}  // namespace

std::string Owner::why_refused(Refusal refusal, WallTime wall) const {
  switch (refusal) {
    case Refusal::paused:
      return paused_until_ ? "paused by the owner until " + moment(*paused_until_, wall)
                           : "paused by the owner until `remote resume`";
    case Refusal::no_imports:
      return "the owner takes no guests (owner.import = \"none\")";
    case Refusal::no_slots:
      return "the owner has set no slots for guests";
    case Refusal::hours:
      return fmt::format("the owner takes guests at {} only (owner.hours)", rules_.hours.text());
    case Refusal::battery:
      return "on battery power (owner.on_battery = false)";
    case Refusal::none:
      break;
  }
  check_failed(__FILE__, __LINE__, "a refusal");
}

std::string Owner::why_load() const {
  if (load_problem_) return "the owner's own load " + *load_problem_;
  const std::array<double, 3> averages = *averages_.averages();
  const LoadMarks& marks = gate_.open_marks();
  return fmt::format(
      "the owner's own load is {:.2f}, {:.2f}, {:.2f} over 1, 5, 15 minutes; guests are let in "
      "below "
      "{}, {}, {}",
      averages[0], averages[1], averages[2], marks[0], marks[1], marks[2]);
}

std::string Owner::why(Time now, WallTime wall) const {
  if (const Refusal refused = refusal(wall); refused != Refusal::none)
    return why_refused(refused, wall);
  if (sources_.empty())
    return "no input source is configured (idle.sources is empty), so the owner counts as present";
  if (const SourceFacts* blind = unreadable())
    return fmt::format("input source {} {}, so the owner counts as present", blind->name,
                       blind->why_unreadable);
  const SourceFacts& source = *latest();
  const Duration idle = now - source.last;
  if (idle < rules_.idle_after) {
    const std::string remaining = roughly_until(rules_.idle_after - idle);
    return source.seen
               ? fmt::format("{} used {} ago; idle in {}", source.what, roughly(idle), remaining)
               : fmt::format("input source {} watched for {} only; idle in {}", source.name,
                             roughly(idle), remaining);
  }
  if (!load_is_open()) return why_load();
  const std::string unused = fmt::format("no input for {}", roughly(idle));
  if (used_ == 0) return unused;
  return fmt::format("{}; {} of {} slots used", unused, used_, rules_.max_guests);
}

}  // namespace hob
