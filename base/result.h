#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace hob {

/// Why an operation did not happen: operation, subject, cause and what to do next, in one line that
/// reads as a sentence ("open /proc/41/maps: permission denied; hostd must run as root").
///
/// `code` is an errno where one exists, else 0; callers that treat one cause as ordinary (ESRCH:
/// the process is gone) look at it, people read `text`.
struct Error {
  std::string text;
  int code = 0;

  /// "OPERATION SUBJECT: strerror(code)[; hint]". `code` defaults to errno as it is at the call.
  static Error sys(std::string_view operation, std::string_view subject, int code = errno,
                   std::string_view hint = {});

  /// The same error, seen from further out: "CONTEXT: text".
  Error in(std::string_view context) &&;
};

/// A value, or the Error that says why there is none. Expected failures only: see check.h for
/// others.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return CHECK(ok()), *std::get_if<0>(&state_); }
  const T& value() const& { return CHECK(ok()), *std::get_if<0>(&state_); }
  T&& value() && { return CHECK(ok()), std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

  const Error& error() const& { return CHECK(!ok()), *std::get_if<1>(&state_); }
  Error&& error() && { return CHECK(!ok()), std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  void value() const { CHECK(ok_); }
  const Error& error() const& { return CHECK(!ok_), error_; }
  Error&& error() && { return CHECK(!ok_), std::move(error_); }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace hob

/// `auto x = TRY(f());`: the value of a Result, or return its Error from the calling function.
#define TRY(...)                                                          \
  ({                                                                      \
    auto hob_try_result_ = (__VA_ARGS__);                                 \
    if (!hob_try_result_.ok()) return std::move(hob_try_result_).error(); \
    std::move(hob_try_result_).value();                                   \
  })
