#include "cli/views.h"

#include <fmt/core.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>

#include "base/json.h"
#include "cli/text.h"

namespace hob::cli {
namespace {

using Format = Output::Format;

std::string_view word_of(pb::JobReport::State state) {
  switch (state) {
    case pb::JobReport::WAITING:
      return "waiting";
    case pb::JobReport::RUNNING:
      return "running";
    case pb::JobReport::MOVING:
      return "moving";
    case pb::JobReport::SUSPENDED:
      return "suspended";
    case pb::JobReport::DONE:
      return "done";
    case pb::JobReport::LOST:
      return "lost";
    case pb::JobReport::STOPPED:
      return "stopped";
    default:
      return "unknown";
  }
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? name : std::to_string(number);
}

/// "running", "exited 0", "killed by TERM", ...
std::string outcome_of(const pb::JobReport& job) {
  if (job.state() != pb::JobReport::DONE) return std::string(word_of(job.state()));
  const int status = job.exit_status();
  if (WIFSIGNALED(status)) return "killed by " + signal_name(WTERMSIG(status));
  return fmt::format("exited {}", WEXITSTATUS(status));
}

void write_job(JsonWriter& json, const pb::JobReport& job) {
  json.member("id", job.job()).member("state", word_of(job.state()));
  json.member("user", job.user()).member("uid", job.uid());
  json.member("command", job.command()).member("host", job.host());
  const bool done = job.state() == pb::JobReport::DONE;
  const int status = job.exit_status();
  if (done && WIFEXITED(status)) json.member("exit_code", WEXITSTATUS(status));
  if (done && WIFSIGNALED(status)) json.member("exit_signal", WTERMSIG(status));
  if (!job.text().empty()) json.member("text", job.text());
}

void write_move(JsonWriter& json, const pb::MoveReport& move) {
  const pb::MoveFigures& f = move.figures();
  json.object().instant("time", move.wall_ns()).member("from", move.from()).member("to", move.to());
  json.member("reason", move.reason()).member("moved", move.moved());
  if (!move.text().empty()) json.member("text", move.text());
  json.seconds("freeze_seconds", f.freeze_ns()).seconds("push_seconds", f.push_ns());
  json.seconds("clean_seconds", f.clean_ns()).member("pages_moved", f.pages_moved());
  json.member("pages_demanded", f.pages_demanded()).member("image_bytes", f.image_bytes());
  json.member("threads", f.threads()).member("processes", f.processes()).end();
}

std::string time_for_people(uint64_t wall_ns) {
  if (wall_ns == 0) return "";
  const time_t seconds = static_cast<time_t>(wall_ns / 1'000'000'000);
  tm local{};
  ::localtime_r(&seconds, &local);
  char text[64];
  return {text, ::strftime(text, sizeof text, "%F %T", &local)};
}

}  // namespace

std::string view(const pb::HostList& hosts, const HostsOptions& options) {
  const Format format = options.output.format;
  if (format == Format::name) {
    std::string out;
    for (const pb::HostStatus& host : hosts.hosts()) out += host.name() + "\n";
    return out;
  }
  if (format == Format::json) {
    JsonWriter json;
    json.member("schema", 1).array("hosts");
    for (const pb::HostStatus& host : hosts.hosts()) {
      const pb::HostReport& report = host.report();
      json.object().member("name", host.name());
      json.member("state", wire::name_of(report.state()));
      json.member("reason", report.reason()).seconds("idle_seconds", report.idle_ns());
      json.member("guests", report.guests()).member("slots", report.slots());
      json.member("granted", host.granted()).member("load", report.load());
      json.member("endpoint", host.endpoint()).seconds("seen_seconds", host.seen_ns()).end();
    }
    return std::move(json).document();
  }
  const bool wide = format == Format::wide, why = options.why || wide;
  std::vector<std::string> headers{"HOST", "STATE", "IDLE", "GUESTS", "LOAD"};
  if (wide) headers.insert(headers.end(), {"GRANTED", "SEEN", "ENDPOINT"});
  if (why) headers.emplace_back("REASON");
  Table table(std::move(headers), {2, 3, 4});
  for (const pb::HostStatus& host : hosts.hosts()) {
    const pb::HostReport& report = host.report();
    const bool down = report.state() == pb::HOST_DOWN || report.state() == pb::HOST_UNSPECIFIED;
    std::vector<std::string> row{host.name(), std::string(wire::name_of(report.state()))};
    row.push_back(down ? "" : for_people(nanoseconds(report.idle_ns())));
    row.push_back(down ? "" : fmt::format("{}/{}", report.guests(), report.slots()));
    row.push_back(down ? "" : fmt::format("{:.2f}", report.load()));
    if (wide) {
      row.push_back(std::to_string(host.granted()));
      row.push_back(for_people(nanoseconds(host.seen_ns())));
      row.push_back(host.endpoint());
    }
    if (why) row.push_back(report.reason());
    table.add(std::move(row));
  }
  return table.text(options.output.headers);
}

// As people count: h0.9 before h0.10.
static std::vector<pb::JobStatus> in_order(const pb::JobList& jobs) {
  std::vector<pb::JobStatus> all(jobs.jobs().begin(), jobs.jobs().end());
  std::stable_sort(all.begin(), all.end(), [](const pb::JobStatus& a, const pb::JobStatus& b) {
    return ::strverscmp(a.job().job().c_str(), b.job().job().c_str()) < 0;
  });
  return all;
}

std::string view(const pb::JobList& list, const PsOptions& options, uint64_t now_wall_ns) {
  const Format format = options.output.format;
  const std::vector<pb::JobStatus> jobs = in_order(list);
  if (format == Format::name) {
    std::string out;
    for (const pb::JobStatus& status : jobs) out += status.job().job() + "\n";
    return out;
  }
  if (format == Format::json) {
    JsonWriter json;
    json.member("schema", 1).array("jobs");
    for (const pb::JobStatus& status : jobs) {
      json.object();
      write_job(json, status.job());
      json.member("home", status.home()).instant("started", status.started_wall_ns());
      json.member("reason", status.reason()).member("guest", status.guest());
      json.member("moves", status.moves()).end();
    }
    return std::move(json).document();
  }
  const bool wide = format == Format::wide;
  std::vector<std::string> headers{"JOB", "STATE", "HOST", "HOME", "USER", "AGE", "MOVES"};
  if (wide) headers.emplace_back("REASON");
  headers.emplace_back("COMMAND");
  Table table(std::move(headers), {5, 6});
  for (const pb::JobStatus& status : jobs) {
    const pb::JobReport& job = status.job();
    const uint64_t started = status.started_wall_ns();
    const uint64_t age = started == 0 || started > now_wall_ns ? 0 : now_wall_ns - started;
    std::vector<std::string> row{job.job(), outcome_of(job), job.host(), status.home(), job.user()};
    row.push_back(started == 0 ? "" : for_people(nanoseconds(age)));
    row.push_back(std::to_string(status.moves()));
    if (wide) row.push_back(status.reason());
    row.push_back(job.command());
    table.add(std::move(row));
  }
  return table.text(options.output.headers);
}

std::string view(const pb::InvitationList& list, const CellInvitations& options) {
  const Format format = options.output.format;
  std::string names;
  JsonWriter json;
  json.member("schema", 1).array("invitations");
  Table table({"INVITATION", "HOST", "MADE", "EXPIRES"});
  for (const pb::InvitationList::Entry& entry : list.invitations()) {
    names += entry.number() + "\n";
    json.object().member("number", entry.number()).member("host", entry.name());
    json.instant("made", entry.made_wall_ns()).instant("expires", entry.expires_wall_ns()).end();
    table.add({entry.number(), entry.name().empty() ? "any" : entry.name(),
               time_for_people(entry.made_wall_ns()), time_for_people(entry.expires_wall_ns())});
  }
  if (format == Format::name) return names;
  if (format == Format::json) return std::move(json).document();
  return table.text(options.output.headers);
}

std::string view(const pb::History& history, const HistoryOptions& options) {
  const Format format = options.output.format;
  const pb::JobReport& job = history.job();
  if (format == Format::name) return job.job() + "\n";
  if (format == Format::json) {
    JsonWriter json;
    json.member("schema", 1).object("job");
    write_job(json, job);
    json.member("home", history.home()).instant("submitted", history.submitted_wall_ns());
    json.instant("started", history.started_wall_ns()).instant("ended", history.ended_wall_ns());
    json.array("moves");
    for (const pb::MoveReport& move : history.moves()) write_move(json, move);
    return std::move(json).document();
  }
  std::string out;
  if (options.output.headers) {
    Table facts({"", ""});
    facts.add({"job", job.job()});
    facts.add({"command", job.command()});
    facts.add({"state", outcome_of(job)});
    if (!job.text().empty()) facts.add({"because", job.text()});
    facts.add({"user", job.user()});
    facts.add({"home", history.home()});
    facts.add({"host", job.host()});
    facts.add({"submitted", time_for_people(history.submitted_wall_ns())});
    facts.add({"started", time_for_people(history.started_wall_ns())});
    facts.add({"ended", time_for_people(history.ended_wall_ns())});
    out = facts.text(false) + "\n";
  }
  if (history.moves().empty()) return out + (options.output.headers ? "never moved\n" : "");
  const bool wide = format == Format::wide;
  std::vector<std::string> headers{"MOVED", "FROM", "TO", "FROZEN", "PUSHED", "CLEAN", "MEMORY"};
  if (wide) headers.insert(headers.end(), {"DEMANDED", "IMAGE", "THREADS", "PROCESSES"});
  headers.insert(headers.end(), {"REASON", "RESULT"});
  Table table(std::move(headers), {3, 4, 5, 6});
  for (const pb::MoveReport& move : history.moves()) {
    const pb::MoveFigures& f = move.figures();
    const auto span = [&](uint64_t ns) { return ns == 0 ? "" : precise(nanoseconds(ns)); };
    std::vector<std::string> row{time_for_people(move.wall_ns()), move.from(), move.to()};
    for (uint64_t ns : {f.freeze_ns(), f.push_ns(), f.clean_ns()}) row.push_back(span(ns));
    constexpr uint64_t kPage = 4096;  // MoveFigures: pages of 4 KiB each
    row.push_back(bytes_for_people(f.pages_moved() * kPage));
    if (wide) {
      row.push_back(bytes_for_people(f.pages_demanded() * kPage));
      row.push_back(bytes_for_people(f.image_bytes()));
      row.push_back(std::to_string(f.threads()));
      row.push_back(std::to_string(f.processes()));
    }
    row.push_back(move.reason());
    row.push_back(move.moved() ? "moved" : "not moved: " + move.text());
    table.add(std::move(row));
  }
  return out + table.text(options.output.headers);
}

}  // namespace hob::cli
