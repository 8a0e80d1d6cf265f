#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

/// A thin layer over SQLite: the only file, with its .cc, that calls sqlite3_*. Not thread-safe.
namespace hob::coordinator::sqlite {

using Blob = std::span<const std::byte>;

/// One use of a prepared statement. Binds values in order, then steps through the rows; gives the
/// statement back to the Database's cache when it goes. Must not outlive the Database.
class Query {
 public:
  Query(Query&& other) noexcept;
  Query& operator=(Query&&) = delete;
  ~Query();

  /// The next parameter. Text and blobs must stay valid until the Query goes.
  Query& bind(int64_t value);
  Query& bind(std::string_view text);
  Query& bind(Blob blob);
  Query& bind_null();
  template <class T>
  Query& bind(const std::optional<T>& value) {
    return value ? bind(*value) : bind_null();
  }

  /// Whether there is another row.
  Result<bool> next();
  /// All rows, their values not looked at: for statements that change something.
  Result<void> run();

  /// Columns of the current row, from 0.
  bool is_null(int column) const;
  int64_t integer(int column) const;
  std::string text(int column) const;  // also of a blob
  std::optional<int64_t> maybe_integer(int column) const;

 private:
  friend class Database;
  Query(class Database& database, sqlite3_stmt* statement)
      : database_(&database), statement_(statement) {}

  class Database* database_;
  sqlite3_stmt* statement_;
  int next_parameter_ = 1;
  int failure_ = SQLITE_OK;
};

class Database {
 public:
  /// Opens or creates the file, in WAL mode, with foreign keys enforced and waiting up to five
  /// seconds for a lock. The file's content is checked (PRAGMA quick_check). `subject` ("ledger")
  /// and the path begin every Error.
  static Result<std::unique_ptr<Database>> open(std::string_view subject, const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Statements without parameters or rows, separated by semicolons.
  Result<void> execute(const std::string& sql);
  /// The statement is prepared once and kept. The same text must not be in use twice at a time.
  Result<Query> prepare(std::string_view sql);

  /// What a failed call returns: the cause in SQLite's words, and what to do. `code` is ENOSPC,
  /// EIO, EBUSY, EINVAL (the values break a constraint of the table: trying again will not help),
  /// or 0.
  Error error(std::string_view operation, int code) const;
  /// An Error that this program found itself, in the same form.
  Error error(std::string_view text) const;

  int64_t last_id() const;
  int changes() const;
  bool in_transaction() const;

 private:
  Database(std::string name, sqlite3* handle) : name_(std::move(name)), handle_(handle) {}

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { ::sqlite3_finalize(statement); }
  };
  std::string name_;
  sqlite3* handle_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>, std::less<>> cache_;
};

/// BEGIN IMMEDIATE until commit(); rolled back if it goes without.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace hob::coordinator::sqlite
