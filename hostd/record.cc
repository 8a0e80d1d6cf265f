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
  return attempt != 0 && state_.committed() == attempt;
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

}  // namespace hob::hostd
