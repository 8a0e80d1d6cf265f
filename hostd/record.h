#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "wire/message.h"

namespace hob::hostd {

/// Home's record of one job: which copy is the live one. Pure.
///
/// The record decides every move, once: an attempt commits when the target asks while it is
/// undecided; asking whether it did (settle) or giving it up (abandon) decides it too. Whatever the
/// order in which messages arrive, and however often, the verdict of an attempt never changes
/// (DESIGN.md section 6, invariant 1). Attempts are numbered upwards from 1; 0 is "none".
class Record {
 public:
  explicit Record(pb::ExportRecord state) : state_(std::move(state)) {}

  const pb::ExportRecord& state() const { return state_; }
  const std::string& site() const { return state_.site(); }
  bool moving() const { return state_.undecided(); }
  uint64_t attempt() const { return state_.attempt(); }

  /// The first copy lives on `site`.
  void place(const std::string& site, uint64_t lease);
  /// Its clocks are ahead of home's by so much: it was restarted from a checkpoint after a reboot.
  void run_ahead(uint64_t ns);
  /// For people.
  void started(uint64_t wall_ns);
  /// A move to `target` begins; must not be moving. Returns the attempt's number.
  uint64_t begin(const std::string& target);
  /// The target's question. True: it is the live copy (also when asked again); false: never.
  bool commit(uint64_t attempt, const std::string& target, uint64_t lease);
  /// The question of the source of `attempt`: decides an undecided attempt against it. True: this
  /// attempt or a later one has committed, so that the copy that asks is not the live one and may
  /// not run.
  bool settle(uint64_t attempt);
  /// Whether the answer to settle(attempt) is known already, so that anybody may ask.
  bool settled(uint64_t attempt) const { return attempt <= state_.committed(); }
  /// Home gives the attempt up; no effect once it has committed.
  void abandon(uint64_t attempt) { settle(attempt); }

 private:
  pb::ExportRecord state_;
};

/// Keeps records as files, one per job, so that they survive a restart of hostd. They lie in the
/// run directory: a reboot ends jobs and shadows alike, and with them the need for the record.
class RecordStore {
 public:
  static Result<RecordStore> open(const std::string& directory);
  Result<void> save(const Record& record) const;
  void remove(const std::string& job) const;
  /// All records that can be read; what is damaged is logged and put aside as NAME.damaged.
  std::vector<Record> load() const;

 private:
  explicit RecordStore(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

/// Numbers for jobs of this home, never given twice: reserved on disk a thousand at a time.
class JobNumbers {
 public:
  static Result<JobNumbers> open(const std::string& path);
  uint64_t next();

 private:
  JobNumbers(std::string path, uint64_t first)
      : path_(std::move(path)), next_(first), end_(first) {}
  std::string path_;
  uint64_t next_, end_;
};

}  // namespace hob::hostd
