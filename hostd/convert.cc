#include "hostd/convert.h"

#include <sys/resource.h>

#include <ctime>

namespace hob::hostd {
namespace {

constexpr size_t kCommandLine = 120;

Duration clock_now(clockid_t clock) {
  timespec now{};
  CHECK(::clock_gettime(clock, &now) == 0);
  return seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

Result<void> copy_strings(const google::protobuf::RepeatedPtrField<std::string>& from,
                          std::vector<std::string>& to, const char* what) {
  for (const std::string& text : from) {
    if (text.find('\0') != std::string::npos)
      return Error{std::string("start a job: NUL byte in its ") + what, EINVAL};
    to.push_back(text);
  }
  return {};
}

}  // namespace

migrate::Credentials credentials_of(const pb::Identity& identity) {
  migrate::Credentials user{identity.uid(), identity.gid(), {}};
  user.groups.assign(identity.groups().begin(), identity.groups().end());
  return user;
}

Result<migrate::Program> program_of(const pb::Program& program, const pb::Identity& identity) {
  migrate::Program result;
  TRY(copy_strings(program.arguments(), result.arguments, "arguments"));
  TRY(copy_strings(program.environment(), result.environment, "environment"));
  if (result.arguments.empty()) return Error{"start a job: no command", EINVAL};
  result.directory = program.directory();
  if (result.directory.empty() || result.directory[0] != '/' ||
      result.directory.find('\0') != std::string::npos)
    return Error{"start a job: its directory is not an absolute path", EINVAL};
  result.umask = program.umask() & 0777;
  for (const pb::Limit& limit : program.limits()) {
    if (limit.resource() < 0 || limit.resource() >= RLIM_NLIMITS)
      return Error{"start a job: unknown resource limit " + std::to_string(limit.resource()),
                   EINVAL};
    result.limits.push_back({limit.resource(), {limit.soft(), limit.hard()}});
  }
  result.user = credentials_of(identity);
  result.terminal = program.terminal();
  for (uint32_t fd : program.closed())
    if (fd < result.closed.size()) result.closed[fd] = true;
  return result;
}

pb::Clocks clocks_now() {
  pb::Clocks clocks;
  clocks.set_monotonic_ns(static_cast<uint64_t>(clock_now(CLOCK_MONOTONIC).count()));
  clocks.set_boottime_ns(static_cast<uint64_t>(clock_now(CLOCK_BOOTTIME).count()));
  return clocks;
}

void heard_now(pb::Clocks& clocks) {
  const pb::Clocks now = clocks_now();
  clocks.set_heard_monotonic_ns(now.monotonic_ns());
  clocks.set_heard_boottime_ns(now.boottime_ns());
}
migrate::ClockOffsets offsets_against(const pb::Clocks& home) {
  // A host's clock is at most some decades; anything else is damage and would only overflow.
  constexpr uint64_t kMost = 1ull << 61;
  const auto offset = [](uint64_t theirs, uint64_t ours) {
    return theirs == 0 || theirs > kMost || ours > kMost
               ? Duration::zero()
               : nanoseconds(static_cast<int64_t>(theirs)) -
                     nanoseconds(static_cast<int64_t>(ours));
  };
  return {offset(home.monotonic_ns(), home.heard_monotonic_ns()),
          offset(home.boottime_ns(), home.heard_boottime_ns())};
}

std::string command_line(const pb::Program& program) {
  std::string line;
  for (const std::string& argument : program.arguments()) {
    if (!line.empty()) line += ' ';
    line += argument;
    if (line.size() > kCommandLine) break;
  }
  if (line.size() > kCommandLine) line.replace(kCommandLine - 3, std::string::npos, "...");
  for (char& c : line)
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  return line;
}

pb::Envelope checked(const migrate::Findings& found, const std::string& host) {
  pb::Envelope envelope;
  pb::Checked& out = *envelope.mutable_checked();
  out.set_host(host);
  for (const migrate::Obstacle& obstacle : found.obstacles) out.add_obstacles(obstacle.text);
  constexpr size_t kRoom = wire::kMaxEnvelope / 2;  // the obstacles have the other half
  size_t used = 0;
  for (const migrate::Resource& resource : found.resources) {
    constexpr size_t kNumbers = 64;  // what the encoding adds
    used += resource.program.size() + resource.place.size() + resource.name.size() +
            resource.kind.size() + resource.reason.size() + kNumbers;
    if (used > kRoom) {
      out.set_left_out(out.left_out() + 1);
      continue;
    }
    pb::Checked::Resource& row = *out.add_resources();
    row.set_process(static_cast<uint32_t>(resource.process));
    row.set_program(resource.program);
    row.set_place(resource.place);
    row.set_name(resource.name);
    row.set_kind(resource.kind);
    row.set_binding(std::string(migrate::word_of(resource.binding)));
    row.set_reason(resource.reason);
  }
  return envelope;
}

}  // namespace hob::hostd
