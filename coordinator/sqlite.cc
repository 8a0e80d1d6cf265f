#include "coordinator/sqlite.h"

#include <cerrno>

#include "base/check.h"
#include "base/log.h"

namespace hob::coordinator::sqlite {
namespace {

constexpr int busy_timeout_ms = 5000;

/// What a person does about it; empty if the cause says enough.
std::string_view advice(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
      return "; free space there, nothing accepted so far is lost";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "; the file is damaged: put back a backup, or move it away";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "; does another coordinator use it?";
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return "; the coordinator must be able to write there";
    default:
      return "";
  }
}

int errno_of(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_IOERR:
      return EIO;
    case SQLITE_BUSY:
      return EBUSY;
    case SQLITE_CONSTRAINT:
      return EINVAL;
    default:
      return 0;
  }
}

}  // namespace

// Query. ---------------------------------------------------------------------------------------

Query::Query(Query&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      next_parameter_(other.next_parameter_),
      failure_(other.failure_) {}

Query::~Query() {
  if (statement_ == nullptr) return;
  ::sqlite3_reset(statement_);
  ::sqlite3_clear_bindings(statement_);
}

Query& Query::bind(int64_t value) {
  const int code = ::sqlite3_bind_int64(statement_, next_parameter_++, value);
  if (code != SQLITE_OK) failure_ = code;
  return *this;
}

Query& Query::bind(std::string_view text) {
  const int code = ::sqlite3_bind_text64(statement_, next_parameter_++, text.data(), text.size(),
                                         SQLITE_STATIC, SQLITE_UTF8);
  if (code != SQLITE_OK) failure_ = code;
  return *this;
}

Query& Query::bind(Blob blob) {
  const int code =
      ::sqlite3_bind_blob64(statement_, next_parameter_++, blob.data(), blob.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) failure_ = code;
  return *this;
}

Query& Query::bind_null() {
  const int code = ::sqlite3_bind_null(statement_, next_parameter_++);
  if (code != SQLITE_OK) failure_ = code;
  return *this;
}

Result<bool> Query::next() {
  if (failure_ != SQLITE_OK) return database_->error("bind", failure_);
  const int code = ::sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_->error("", code);
}

Result<void> Query::run() {
  while (TRY(next())) {
  }
  return {};
}

bool Query::is_null(int column) const {
  return ::sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

int64_t Query::integer(int column) const {
  return ::sqlite3_column_int64(statement_, column);
}

std::string Query::text(int column) const {
  const void* data = ::sqlite3_column_blob(statement_, column);
  const auto size = static_cast<size_t>(::sqlite3_column_bytes(statement_, column));
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

std::optional<int64_t> Query::maybe_integer(int column) const {
  if (is_null(column)) return std::nullopt;
  return integer(column);
}

// Database. ------------------------------------------------------------------------------------

Result<std::unique_ptr<Database>> Database::open(std::string_view subject,
                                                 const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      ::sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  std::unique_ptr<Database> database(new Database(std::string(subject) + " " + path, handle));
  if (code != SQLITE_OK) return database->error("open", code);
  ::sqlite3_extended_result_codes(handle, 1);
  ::sqlite3_busy_timeout(handle, busy_timeout_ms);
  TRY(database->execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"));
  auto check = TRY(database->prepare("PRAGMA quick_check(1)"));
  if (!TRY(check.next()) || check.text(0) != "ok") {
    return database->error(check.text(0) + std::string(advice(SQLITE_CORRUPT)));
  }
  return database;
}

Database::~Database() {
  cache_.clear();
  ::sqlite3_close(handle_);
}

Result<void> Database::execute(const std::string& sql) {
  const int code = ::sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error("", code);
  return {};
}

Result<Query> Database::prepare(std::string_view sql) {
  auto cached = cache_.find(sql);
  if (cached == cache_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int code = ::sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) return error("prepare", code);
    cached = cache_.emplace(std::string(sql), statement).first;
  }
  CHECK(::sqlite3_stmt_busy(cached->second.get()) == 0);
  return Query(*this, cached->second.get());
}

Error Database::error(std::string_view operation, int code) const {
  std::string text = name_ + ": ";
  if (!operation.empty()) text.append(operation).append(": ");
  text.append(handle_ == nullptr ? ::sqlite3_errstr(code) : ::sqlite3_errmsg(handle_));
  return Error{text.append(advice(code)), errno_of(code)};
}

Error Database::error(std::string_view text) const {
  return Error{name_ + ": " + std::string(text)};
}

int64_t Database::last_id() const {
  return ::sqlite3_last_insert_rowid(handle_);
}
int Database::changes() const {
  return ::sqlite3_changes(handle_);
}
bool Database::in_transaction() const {
  return ::sqlite3_get_autocommit(handle_) == 0;
}

// Transaction. ---------------------------------------------------------------------------------

Result<Transaction> Transaction::begin(Database& database) {
  TRY(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Result<void> Transaction::commit() {
  TRY(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself, when the disk is full for example.
  if (database_ == nullptr || !database_->in_transaction()) return;
  const auto rolled_back = database_->execute("ROLLBACK");
  if (!rolled_back) log::warning("{}", rolled_back.error().text);
}

}  // namespace hob::coordinator::sqlite
