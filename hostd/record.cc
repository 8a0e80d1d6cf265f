#include "hostd/record.h"

#include <unistd.h>

#include <filesystem>

#include "base/check.h"
#include "base/fd.h"
#include "base/log.h"

namespace hob::hostd {

void Record::place(const std::string& site, uint64_t lease) {
  state_.set_site(site);
  state_.set_lease(lease);
}

void Record::run_ahead(uint64_t ns) {
  state_.set_clock_ahead_ns(ns);
}

void Record::started(uint64_t wall_ns) {
  state_.set_started_wall_ns(wall_ns);
}

uint64_t Record::begin(const std::string& target) {
  CHECK(!moving());
  state_.set_attempt(state_.attempt() + 1);
  state_.set_undecided(true);
  state_.set_target(target);
  return state_.attempt();
}

bool Record::commit(uint64_t attempt, const std::string& target, uint64_t lease) {
  if (attempt == 0 || attempt != state_.attempt() || target != state_.target()) return false;
  if (moving()) {
    state_.set_undecided(false);
    state_.set_committed(attempt);
    place(target, lease);
  }
  return state_.committed() == attempt;
}

bool Record::settle(uint64_t attempt) {
  if (attempt == state_.attempt()) state_.set_undecided(false);
  return attempt != 0 && attempt <= state_.committed();
}

Result<RecordStore> RecordStore::open(const std::string& directory) {
  TRY(make_directories(directory, 0700));
  return RecordStore(directory);
}

Result<void> RecordStore::save(const Record& record) const {
  return replace_file(directory_ + "/" + record.state().job(), record.state().SerializeAsString(),
                      0600);
}

void RecordStore::remove(const std::string& job) const {
  ::unlink((directory_ + "/" + job).c_str());
}

std::vector<Record> RecordStore::load() const {
  std::vector<Record> records;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, failed)) {
    const std::string path = entry.path().string();
    if (path.ends_with(".new") || path.ends_with(".damaged")) continue;
    Result<std::string> bytes = read_file(path);
    pb::ExportRecord state;
    if (bytes.ok() && state.ParseFromString(*bytes) && !state.job().empty()) {
      records.emplace_back(std::move(state));
      continue;
    }
    log::error("record {}: {}; put aside as {}.damaged", path,
               bytes.ok() ? "damaged" : bytes.error().text, path);
    std::filesystem::rename(path, path + ".damaged", failed);
  }
  return records;
}

Result<JobNumbers> JobNumbers::open(const std::string& path) {
  Result<std::string> text = read_file(path, 64);
  if (!text.ok() && text.error().code != ENOENT) return std::move(text).error();
  JobNumbers numbers(path, text.ok() ? std::strtoull(text->c_str(), nullptr, 10) : 1);
  if (numbers.next_ == 0)
    return Error{"read " + path + ": damaged; write a number into it that is higher than any job's",
                 EINVAL};
  return numbers;
}

uint64_t JobNumbers::next() {
  constexpr uint64_t kBlock = 1000;
  if (next_ == end_) {
    end_ += kBlock;
    if (Result<void> saved = replace_file(path_, std::to_string(end_) + "\n", 0644, true);
        !saved.ok())
      log::error("{}; job numbers may repeat after a restart", saved.error().text);
  }
  return next_++;
}

}  // namespace hob::hostd
