// pmake/build.h, the part that serves shells at the door, and is the shadow of their jobs.
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "cli/say.h"
#include "pmake/build.h"
#include "pmake/recipe.h"
#include "pmake/recipe_text.h"

namespace hob::pmake {
namespace {

/// Enough to recognise a command in a list.
constexpr size_t kShown = 200;

std::string below(const std::string& directory, const std::string& path) {
  return path.empty() || path.starts_with('/') ? path : directory + "/" + path;
}

/// The job that a message of hostd is about; nothing if it says none.
const std::string* job_of(const pb::Envelope& envelope) {
  switch (envelope.body_case()) {
    case pb::Envelope::kStarted:
      return &envelope.started().job();
    case pb::Envelope::kData:
      return &envelope.data().job();
    case pb::Envelope::kAck:
      return &envelope.ack().job();
    case pb::Envelope::kExited:
      return &envelope.exited().job();
    case pb::Envelope::kFailure:
      return &envelope.failure().job();
    case pb::Envelope::kNote:
      return &envelope.note().job();
    default:
      return nullptr;
  }
}

}  // namespace

void Build::on_visitor(Fd socket) {
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
      who.uid != ::geteuid())
    return;
  auto line = std::make_shared<Line>();
  line->pid = who.pid;
  std::weak_ptr<Line> weak = line;
  auto visitor = Visitor::create(loop_, std::move(socket),
                                 {[this, weak](DoorRequest request) {
                                    if (LinePtr l = weak.lock()) on_wish(l, std::move(request));
                                  },
                                  [this, weak](int signal) {
                                    if (LinePtr l = weak.lock()) signal_line(l, signal);
                                  },
                                  [this, weak] {
                                    if (LinePtr l = weak.lock()) on_visitor_gone(l);
                                  }});
  if (!visitor.ok()) return;  // its shell fails the recipe
  line->visitor = std::move(visitor).value();
  lines_[line.get()] = line;
}

/// Its recipe line is to be run.
void Build::on_wish(const LinePtr& line, DoorRequest request) {
  if (interrupted_ != 0)
    return line->visitor->tell(door::Kind::die, static_cast<uint32_t>(interrupted_));
  const std::vector<std::string> words(request.arguments.begin() + 1, request.arguments.end());
  const std::string_view text = text_of(words);
  if (text.empty()) return line->visitor->tell(door::Kind::whole);
  const std::string target(value_in(request.environment, kTargetVariable));
  // make's jobserver is closed for it, or its shell would not have come here.
  Verdict verdict = place_of(
      {text, target, request.directory, false}, rules_, [&](const std::string& path) -> uint64_t {
        struct stat status {};
        const std::string whole = below(request.directory, path);
        return ::stat(whole.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
      });
  if (verdict.place == Place::recursive) return line->visitor->tell(door::Kind::inside);
  if (verdict.place == Place::cheap) {
    timeline_.count_cheap();
    return line->visitor->tell(door::Kind::here);
  }
  line->argv = shell_words(value_in(request.environment, kShellVariable));
  line->argv.insert(line->argv.end(), words.begin(), words.end());
  line->number = ++last_recipe_;
  line->target = target.substr(0, kShown);
  line->command = text.substr(0, kShown);
  line->why_home = verdict.why;
  line->may_leave = verdict.why.empty();
  if (line->may_leave)
    line->file = OutputFile(below(request.directory, target.empty() ? output_of(text) : target));
  line->asked = std::move(request);
  by_number_[line->number] = line;
  schedule_.ask(line->number, line->may_leave);
  settle();
}

void Build::on_visitor_gone(const LinePtr& line) {
  if (line->process_watch) return;  // it runs at home, and its process says when it has ended
  if (line->away) line->away->abandon();
  forget_away(*line);
  end_line(line);
}

// ---------------------------------------------------------------------------------- its job

void Build::send_away(const LinePtr& line, uint64_t lease) {
  std::weak_ptr<Line> weak = line;
  line->away = std::make_unique<Away>(
      loop_, Away::Events{[this, weak](wire::Message message, bool answered) {
                            if (LinePtr l = weak.lock()) send_for(l, std::move(message), answered);
                          },
                          [this, weak](const std::string& job) {
                            LinePtr l = weak.lock();
                            if (!l) return;
                            l->job = job;
                            by_job_[job] = l;
                          },
                          [this, weak](const Away::Ending& ending) {
                            LinePtr l = weak.lock();
                            if (l && l->away) on_away_end(l, ending);
                          },
                          [this, weak](const std::string& text) {
                            if (LinePtr l = weak.lock()) cli::say(l->label() + ": " + text);
                          }});
  if (!hostd_) return line->away->hostd_gone();
  line->away->start(line->asked, line->argv, lease, line->number);
}

void Build::send_for(const LinePtr& line, wire::Message message, bool answered) {
  if (!hostd_) return;  // Away knows, or is about to
  if (answered) {
    message.envelope.set_request(++last_request_);
    away_answers_[last_request_] = line;
  }
  hostd_->send(std::move(message));
}

bool Build::to_away(const wire::Message& message) {
  const pb::Envelope& envelope = message.envelope;
  if (auto it = away_answers_.find(envelope.answers()); it != away_answers_.end()) {
    LinePtr line = it->second.lock();
    away_answers_.erase(it);
    if (line && line->away) {
      line->away->on_message(message);
    } else if (envelope.has_accepted()) {
      pb::Envelope kill;  // nobody waits for it any more
      kill.mutable_kill_job()->set_job(envelope.accepted().job());
      hostd_->send(std::move(kill));
    }
    return true;
  }
  const std::string* job = job_of(envelope);
  auto it = job == nullptr ? by_job_.end() : by_job_.find(*job);
  if (it == by_job_.end()) return false;
  const LinePtr line = it->second;
  line->away->on_message(message);
  return true;
}

void Build::forget_away(Line& line) {
  if (!line.away) return;
  by_job_.erase(line.away->job());
  loop_.defer([away = std::shared_ptr<Away>(std::move(line.away))] {});  // it may be calling us
}

void Build::on_away_end(const LinePtr& line, const Away::Ending& ending) {
  std::vector<Away::Piece> output = line->away->take_output();
  forget_away(*line);
  if (ending.failure.empty()) {
    std::string words;
    for (const Away::Piece& piece : output) words += encode_output(piece.err, piece.bytes);
    words += WIFSIGNALED(ending.status)
                 ? encode(door::Kind::die, static_cast<uint32_t>(WTERMSIG(ending.status)))
                 : encode(door::Kind::exit, static_cast<uint32_t>(WEXITSTATUS(ending.status)));
    line->visitor->send(std::move(words));
    end_recipe(*line);
    return settle();
  }
  line->job.clear();
  if (ending.not_begun) {
    schedule_.refused(line->number);
    return settle();
  }
  if (auto removed = line->file.remove_if_changed(); !removed.ok()) cli::say(removed.error().text);
  cli::say(fmt::format("{}: {}; running it again at home", line->label(), ending.failure));
  timeline_.lose(line->number, ending.failure, now());
  line->may_leave = false;
  schedule_.lost(line->number);
  settle();
}

}  // namespace hob::pmake
